"Notebooks in the manner of a course that was written for fastai: `mylib port` changes their imports, and then they run to the end"
import json, shutil
from pathlib import Path

import nbformat, pytest
from nbclient import NotebookClient

from mylib.deploy.cli import main
from mylib.compat.faces import is_old
from mylib.compat.imports import changes
from mylib.compat.source import Source, parse

notebooks = sorted((Path(__file__).parent/'course').glob('*.ipynb'))


def old_modules(path):
    "How many imports of fastai a notebook has"
    blocks = Source(path).blocks
    return sum(bool(o.new) for b in blocks for o in changes(parse(b.text, True), b.text))


def test_there_are_six(): assert len(notebooks)==6 and all(map(old_modules, notebooks)) and is_old('fastai.basics')


@pytest.mark.parametrize('path', notebooks, ids=lambda o: o.stem)
def test_a_notebook_runs_with_its_imports_ported(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MYLIB_HOME', str(tmp_path/'home'))
    file = Path(shutil.copy(path, tmp_path))
    assert main(['port', str(file)])==0
    said = capsys.readouterr().out
    assert f'{old_modules(path)} import' in said and '0 to look at' in said, said
    before,after = (json.loads(o.read_text(encoding='utf-8')) for o in (path, file))
    lines = [(a, b) for c,d in zip(before['cells'], after['cells'], strict=True) for a,b in zip(c['source'], d['source'], strict=True)]
    assert all(a==b or 'import' in a and 'fastai' in a and 'mylib' in b for a,b in lines)
    nb = nbformat.read(file, 4)
    NotebookClient(nb, timeout=300, kernel_name='python3', resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    errors = [o for c in nb.cells for o in c.get('outputs', ()) if o.get('output_type')=='error']
    assert errors==[]
