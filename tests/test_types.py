"Type checkers and editors see what a class can do: mypy and pyright find nothing in right programs and every mistake in wrong ones, jedi completes names"
import json, re, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
programs = ROOT/'tests'/'programs'
wrong_lines = [i for i,line in enumerate((programs/'wrong.py').read_text(encoding='utf-8').splitlines(), 1) if '# wrong:' in line]


def mypy(file):
    "The lines in which mypy finds something, in `file` and elsewhere"
    done = subprocess.run([sys.executable, '-m', 'mypy', str(file)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout+done.stderr
    return sorted({(Path(m[1]).name, int(m[2])) for m in re.finditer(r'^(\S+?):(\d+): error:', done.stdout, re.M)}), done.stdout


def pyright(file):
    done = subprocess.run([sys.executable, '-m', 'basedpyright', '--outputjson', str(file)], cwd=ROOT, capture_output=True, text=True)
    found = json.loads(done.stdout)['generalDiagnostics']
    return sorted({(Path(o['file']).name, o['range']['start']['line']+1) for o in found if o['severity']=='error'}), done.stdout


@pytest.mark.parametrize('checker', [mypy, pyright], ids=lambda o: o.__name__)
def test_right_programs(checker):
    found,said = checker(programs/'right.py')
    assert found==[], said


@pytest.mark.parametrize('checker', [mypy, pyright], ids=lambda o: o.__name__)
def test_each_mistake_and_nothing_else(checker):
    assert len(wrong_lines)==11
    found,said = checker(programs/'wrong.py')
    assert found==[('wrong.py', n) for n in wrong_lines], said


@pytest.mark.parametrize('code,names', [
    ('from mylib.vision.all import *\nlearn = Learner(None, None)\nlearn.fit_', ['fit_flat_cos', 'fit_one_cycle', 'fit_sgdr']),
    ('from mylib.vision.all import *\nWatcher().after_', [f'after_{o}' for o in ('backward', 'batch', 'epoch', 'fit', 'loss', 'pred', 'step', 'train', 'valid')]),
    ('from mylib.data.all import *\nDataBlock().data', ['dataloaders', 'datasets']),
])
def test_an_editor_completes(code, names):
    import jedi
    found = [o.name for o in jedi.Script(code, project=jedi.Project(str(ROOT))).complete()]
    assert found==names


def test_help_shows_what_the_file_shows():
    "Every method that `help(Learner)` shows stands in the class in the exported file"
    import ast, inspect
    from mylib.learner.learner import Learner
    tree = ast.parse((ROOT/'mylib'/'learner'/'learner.py').read_text(encoding='utf-8'))
    written = {o.name for c in tree.body if isinstance(c, ast.ClassDef) and c.name=='Learner' for o in c.body if isinstance(o, ast.FunctionDef)}
    shown = {n for n,o in vars(Learner).items() if inspect.isfunction(o) or isinstance(o, property)}
    assert shown==written and 'fit_one_cycle' in shown
    assert not any('@patch' in p.read_text(encoding='utf-8') for p in (ROOT/'mylib').rglob('*.py'))
