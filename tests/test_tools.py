"The house rules are checked: each check passes on a good tree and fails on one with a breach planted in it"
import importlib.util, json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT/'tools'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layers,unused,readme = (tool(o) for o in ('layers', 'unused', 'readme'))


def code(text): return dict(cell_type='code', source=text, metadata={}, outputs=[], execution_count=None, id='a1')


def add(root, notebook, module, source=''):
    "A notebook that exports `module`, and the module"
    nb,py = root/'nbs'/notebook, root/'mylib'/f"{module.replace('.', '/')}.py"
    for p in nb,py: p.parent.mkdir(parents=True, exist_ok=True)
    nb.write_text(json.dumps(dict(cells=[code(f'#| default_exp {module}')], metadata={}, nbformat=4, nbformat_minor=5)))
    py.write_text(source)


@pytest.fixture
def house(tmp_path):
    add(tmp_path, 'core/00_core.ipynb', 'core.core', 'import os\ndef near(x): return os.fspath(x)\ndef _secret(): pass\n')
    add(tmp_path, 'core/01_more.ipynb', 'core.more', 'from .core import near\n')
    add(tmp_path, 'nn/00_layers.ipynb', 'nn.layers', 'from ..core.core import near\nimport mylib.core.more\n')
    add(tmp_path, 'train/00_losses.ipynb', 'train.losses', 'def f():\n    from mylib.core import more\n    return more\n')
    add(tmp_path, 'vision/00_image.ipynb', 'vision.image', 'from mylib.nn.layers import near\n')
    add(tmp_path, 'vision/90_all.ipynb', 'vision.all', 'from .image import *\nfrom mylib.train.losses import f\n')
    (tmp_path/'nbs'/'course').mkdir()
    (tmp_path/'nbs'/'course'/'01_start.ipynb').write_text(json.dumps(dict(cells=[code('from mylib.vision.all import *')])))
    return tmp_path


def test_a_good_house_passes(house, capsys):
    assert list(layers.check(house))==[]
    assert layers.main([str(house)])==0


@pytest.mark.parametrize('notebook, module, source, message', [
    ('core/02_up.ipynb', 'core.up', 'from mylib.vision.image import near', 'vision is a later room than core'),
    ('core/02_up.ipynb', 'core.up', 'def f():\n    from ..vision import image\n    return image', 'vision is a later room'),
    ('core/02_up.ipynb', 'core.up', 'import mylib.nn.layers as l', 'nn is a later room'),
    ('nn/01_beside.ipynb', 'nn.beside', 'from ..train.losses import f', 'nn and train stand beside each other'),
    ('core/00_zero.ipynb', 'core.zero', 'from .more import near', 'not earlier'),
    ('core/05_me.ipynb', 'core.me', 'import mylib.core.me', 'not earlier'),
    ('vision/04_face.ipynb', 'vision.face', 'from .all import near', 'nothing imports faces'),
    ('vision/04_star.ipynb', 'vision.star', 'from ..core.core import *', 'name what you need'),
    ('core/02_secret.ipynb', 'core.secret', 'from .core import _secret', 'private _secret'),
    ('core/02_secret.ipynb', 'core.secret', 'from mylib.core import core\ncore._secret()', 'private _secret'),
    ('core/02_secret.ipynb', 'core.secret', 'import mylib.core.core\nmylib.core.core._secret()', 'private _secret'),
    ('attic/00_thing.ipynb', 'attic.thing', '', 'attic is not a room'),
    ('core/thing.ipynb', 'core.thing', '', 'no numbered notebook'),
])
def test_layers_sees_a_planted_import(house, capsys, notebook, module, source, message):
    add(house, notebook, module, source)
    assert layers.main([str(house)])==1
    out = capsys.readouterr().out
    assert message in out and f"mylib/{module.replace('.', '/')}.py:" in out


def test_layers_sees_a_lesson_that_exports(house, capsys):
    (house/'nbs'/'course'/'02_bad.ipynb').write_text(json.dumps(dict(cells=[code('#| export\ndef f(): pass')])))
    assert layers.main([str(house)])==1
    assert '02_bad.ipynb' in capsys.readouterr().out


GOOD = '''
from abc import abstractmethod
class A:
    def __init__(self, x): self.x = x
    def used(self, a, *args, b=1, **kwargs): return a, args, b, kwargs
    def forced(self, _pred): return 3
    def event(self, run): "Called after each batch"
    def empty(self, run): pass
    def todo(self, x):
        "To be written"
        raise NotImplementedError(f"{type(self)} needs this")
    def __exit__(self, kind, error, trace): return False
    @abstractmethod
    def promise(self, x): return 3
def outer(x):
    def inner(): return x
    return inner
def text(x): return f"{x}"
'''


def test_good_code_passes(tmp_path):
    (tmp_path/'a.py').write_text(GOOD)
    assert list(unused.check(tmp_path))==[]


@pytest.mark.parametrize('source, name', [
    ('def f(x, y): return x', 'y'),
    ('def f(*, flag=True): return 1', 'flag'),
    ('def f(*args): return 1', 'args'),
    ('def f(**kwargs): return 1', 'kwargs'),
    ('class A:\n    def __init__(self, x): self.y = 3', 'x'),
    ('class A:\n    def f(self, x):\n        x = 3\n        self.y = 2', 'x'),
    ('def f():\n    def g(z): return 3\n    return g', 'z'),
    ('async def f(x): return 1', 'x'),
])
def test_unused_sees_a_planted_parameter(tmp_path, capsys, source, name):
    (tmp_path/'a.py').write_text(source)
    assert unused.main([str(tmp_path)])==1
    assert f'`{name}`' in capsys.readouterr().out


@pytest.fixture
def index(tmp_path):
    cells = [dict(cell_type='markdown', source='# Title\n\n```sh\npython3 -m venv .venv &&\n  work\n```\n', metadata={}, id='m1'),
             code('#| hide\nsecret = 1'), dict(code('#| eval: false\nshown = 2'), id='a2')]
    (tmp_path/'nbs').mkdir()
    (tmp_path/'nbs'/'index.ipynb').write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    return tmp_path


def test_readme_is_made_and_checked(index, capsys):
    pytest.importorskip('nbconvert')
    at = ['--root', str(index)]
    assert readme.main(['--check', *at])==1
    assert readme.main(at)==0 and readme.main(['--check', *at])==0
    text = (index/'README.md').read_text()
    assert 'shown = 2' in text and 'secret' not in text and '#|' not in text
    (index/'README.md').write_text(text + 'by hand\n')
    assert readme.main(['--check', *at])==1
    assert 'run `python tools/readme.py`' in capsys.readouterr().out


def test_readme_gives_its_commands(index, capsys):
    pytest.importorskip('nbconvert')
    readme.main(['--root', str(index)])
    readme.main(['--command', '1', '--root', str(index)])
    assert capsys.readouterr().out.strip()=='python3 -m venv .venv && work'


def test_our_own_house_passes():
    assert list(layers.check(ROOT))==[]
    assert list(unused.check(ROOT/'mylib'))==[]
