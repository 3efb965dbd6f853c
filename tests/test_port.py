"What `mylib port` may meet: every notebook of this repository, files that cannot be written, names that must be there"
import ast, builtins, json, os, random
from pathlib import Path

import pytest

from mylib.compat.faces import face_names, face_of, modules
from mylib.compat.port import port
from mylib.compat.source import Source, parse

ROOT = Path(__file__).resolve().parent.parent
notebooks = sorted((ROOT/'nbs').rglob('*.ipynb'))


def test_the_code_of_every_notebook_is_read_with_its_place():
    "The code is that of `json`, each character stands where it is said to, and all cells are Python but those in other languages"
    assert len(notebooks)>100
    for path in notebooks:
        cells = [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type']=='code']
        source = Source(path)
        assert [b.text for b in source.blocks]==cells, path
        for block in source.blocks:
            plain = [i for i,c in enumerate(block.text) if c.isalnum() and c.isascii()]
            assert all(source.text[block.at[i]]==block.text[i] for i in plain), path
            parse(block.text, True)


def test_a_random_word_is_replaced_and_nothing_else():
    rng = random.Random(0)
    for path in rng.sample(notebooks, 40):
        source = Source(path)
        block = rng.choice([b for b in source.blocks if any(c.isalpha() for c in b.text)])
        start = next(i for i in iter(lambda: rng.randrange(len(block.text)), None) if block.text[i].isascii() and block.text[i].isalpha())
        source.replace(block, start, start+1, 'REPLACED')
        before,after = json.loads(source.text),json.loads(source.edited())
        texts = [[''.join(c['source']) for c in nb['cells']] for nb in (before, after)]
        (changed,) = [(a, b) for a,b in zip(*texts) if a!=b]
        assert (changed[0], changed[1])==(block.text, block.text[:start]+'REPLACED'+block.text[start+1:])
        assert len(source.edited())==len(source.text)+7
        for nb in (before, after): nb['cells'] = [{**c, 'source': ''} for c in nb['cells']]
        assert before==after


def test_our_own_notebooks_have_nothing_to_port():
    found = port(notebooks, check=True)
    assert [o for o in found if o.changed or o.error]==[]


@pytest.mark.parametrize('name,text', [('a.py', 'from fastai.basics import *\n'), ('a.ipynb', json.dumps(dict(cells=[dict(cell_type='code', source='from fastai.basics import *')])))])
def test_a_file_that_cannot_be_written_is_named_and_stays(name, text, tmp_path, monkeypatch):
    (tmp_path/name).write_text(text)
    (tmp_path/'b.py').write_text('import fastai')
    replace = os.replace
    def refuse(a, b):
        if Path(b).name==name: raise PermissionError(13, 'Permission denied')
        replace(a, b)
    monkeypatch.setattr(os, 'replace', refuse)
    bad,good = port([tmp_path/name, tmp_path/'b.py'])
    assert 'cannot be written' in bad.error and not bad.changed and (tmp_path/name).read_text()==text
    assert good.changed and (tmp_path/'b.py').read_text()=='import mylib as fastai'
    assert sorted(o.name for o in tmp_path.iterdir())==sorted([name, 'b.py'])


def test_a_folder_is_not_a_file(tmp_path): assert f'Pass its files: {tmp_path}/*.ipynb' in port(tmp_path)[0].error


def test_every_face_that_the_table_names_is_there():
    for module,face in modules.items():
        if face is not None: assert len(face_names(face))>300, (module, face)
        assert face_of(f'{module}.anything')==face or f'{module}.anything' in modules


course = """first range_of noop uniqueify mapped fastuple store_attr patch delegates is_listy save_pickle load_pickle coll_repr one_hot true Inf Self GetAttr parallel
    string tensor pca doc cnn_learner Image BILINEAR NEAREST image2tensor show_at show_titled_image to_np to_cpu params sequential NoneReduce model_meta defaults
    CancelFitException CancelEpochException CancelTrainException CancelValidException CancelBatchException CancelStepException L Path partial np pd plt torch nn F
    listify compose tuplify AttrDict ifnone num_cpus groupby sorted_ex test_eq test_close to_float to_half flatten chunked in_notebook itertools collections"""


def test_a_star_import_gives_what_notebooks_use_without_saying_where_it_is_from():
    assert [o for o in course.split() if o not in face_names('mylib.vision.all')]==[]
    for face in 'mylib.tabular.all', 'mylib.collab', 'mylib.data.all':
        assert [o for o in course.split() if o not in face_names(face)]==['cnn_learner', 'Image', 'BILINEAR', 'NEAREST', 'image2tensor', 'model_meta'], face


@pytest.mark.parametrize('face', sorted({o for o in modules.values() if o}))
def test_no_name_of_a_face_hides_a_builtin(face): assert set(face_names(face))&set(dir(builtins))==set()


def test_nothing_but_a_face_uses_the_old_names():
    "`names`, `helpers`, `vision` and `methods` of `mylib.compat` are for faces"
    faces = [ROOT.joinpath(*o.split('.')).with_suffix('.py') for o in set(modules.values()) if o]
    for path in sorted((ROOT/'mylib').rglob('*.py')):
        if path in faces: continue
        named = [a.name for n in ast.walk(ast.parse(path.read_text(encoding='utf-8'))) if isinstance(n, ast.ImportFrom) for a in n.names if 'compat' in (n.module or '')]
        named += [n.module.rpartition('.')[2] for n in ast.walk(ast.parse(path.read_text(encoding='utf-8'))) if isinstance(n, ast.ImportFrom) and 'compat' in (n.module or '')]
        assert set(named)&{'names', 'helpers', 'vision', 'methods'}==set(), path
