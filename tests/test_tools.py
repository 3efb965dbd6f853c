"The house rules are checked: each check passes on a good tree and fails on one with a breach planted in it"
import importlib.util, json, subprocess, sys
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


def test_readme_shows_figures_with_a_label(index):
    "The figure becomes a file that the README names from the top of the repository; links of the notebook are turned alike"
    pytest.importorskip('nbconvert')
    file,at = index/'nbs'/'index.ipynb',['--root', str(index)]
    nb,png = json.loads(file.read_text()),dict(output_type='display_data', metadata={}, data={'image/png': 'aGVsbG8='})
    nb['cells'] += [dict(code('#| label: fig-one\n#| fig-alt: "A cat"\none()'), id='a3', outputs=[png]), dict(code('#| echo: false\n#| label: fig-two\ntwo()'), id='a4', outputs=[png]),
                    dict(code('three()'), id='a5', outputs=[png]), dict(cell_type='markdown', source='[a](core/a.ipynb) [b](https://b.org) [c](#c)', metadata={}, id='m2')]
    file.write_text(json.dumps(nb))
    readme.main(at)
    text = (index/'README.md').read_text()
    assert 'one()' in text and '![A cat](nbs/images/one.png)' in text and 'two()' not in text and '![](nbs/images/two.png)' in text and text.count('![')==2
    assert '[a](nbs/core/a.ipynb) [b](https://b.org) [c](#c)' in text
    assert (index/'nbs/images/one.png').read_bytes()==b'hello' and readme.main(['--check', *at])==0
    (index/'nbs/images/one.png').write_bytes(b'other')
    assert readme.main(['--check', *at])==1


def test_the_readme_of_the_repository_names_what_is_there():
    "Its relative links, and the two commands that are run"
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    import re
    links = [o for o in re.findall(r'\]\(([^)]+)\)', text) if not re.match('[a-z]+:|#', o)]
    assert len(links)>12 and [o for o in links if not (ROOT/o).is_file()]==[]
    assert 'git clone https://' in text.split('```sh')[0]
    assert [o.split('&& ')[-1] for o in readme.commands(ROOT/'README.md')]==['mylib train', 'python tools/test.py']


def test_readme_gives_its_commands(index, capsys):
    pytest.importorskip('nbconvert')
    readme.main(['--root', str(index)])
    readme.main(['--command', '1', '--root', str(index)])
    assert capsys.readouterr().out.strip()=='python3 -m venv .venv && work'


def test_tests_are_counted(tmp_path, capsys):
    "One that fails, one that passes and one that is skipped, and files in which all are skipped or nothing can be read"
    runner = tool('test')
    for name,text in dict(mixed='import pytest\ndef test_a(): pass\ndef test_b(): assert False\ndef test_c(): pytest.skip("no")',
                          skipped='import pytest\npytest.skip("no", allow_module_level=True)', broken='def').items(): (tmp_path/f'test_{name}.py').write_text(text)
    for names,want in (('mixed', 'skipped', 'broken'), (1, 2)),(('skipped',), (0, 0)): assert runner.test_files([tmp_path/f'test_{n}.py' for n in names])==want, names


def test_our_own_house_passes():
    assert list(layers.check(ROOT))==[]
    assert list(unused.check(ROOT/'mylib'))==[]


fold = tool('fold')

module = '''"""A shape

Docs: https://example.com/shape.html.md"""

# AUTOGENERATED! DO NOT EDIT! File to edit: ../../nbs/core/00_shape.ipynb.

# %% ../../nbs/core/00_shape.ipynb #a1
from fastcore.basics import patch

# %% ../../nbs/core/00_shape.ipynb #a2
class Shape:
    "A shape"
    side = 2

# %% ../../nbs/core/00_shape.ipynb #a3
def _area(side): return side**2

# %% ../../nbs/core/00_shape.ipynb #a4
@patch(as_prop=True)
def area(self:Shape) -> int:
    """The area
  of it"""
    return _area(self.side)

@patch(cls_method=True)
def unit(cls:Shape): # a comment
    new = cls()
    new.side = 1
    return new

# %% ../../nbs/core/00_shape.ipynb #a5
@patch
def grown(self:Shape, by:int=1, like:Shape|None=None) -> Shape:
    new = Shape()
    new.side = self.side+by
    return new
'''


def test_folding_moves_methods_into_their_class():
    text = fold.fold(module)
    space = {}
    exec(text, space)
    Shape = space['Shape']
    assert [n for n in vars(Shape) if not n.startswith('__')]==['side', 'area', 'unit', 'grown']
    assert (Shape().area, Shape.unit().area, Shape().grown(2).area)==(4, 1, 16)
    assert Shape.area.__doc__=='The area\n  of it'
    assert Shape.grown.__annotations__==dict(by=int, like='Shape|None', **{'return': 'Shape'})
    assert '@patch' not in text and 'import patch' not in text and '#a4' not in text and '# a comment' in text
    assert fold.fold(text)==text


def test_folding_refuses_what_is_defined_too_late():
    late = module.replace('by:int=1', 'by:int=_area(1)')
    with pytest.raises(SystemExit, match='Move the definition above the class'): fold.fold(late)


def test_the_opening_paragraph_becomes_the_docstring(tmp_path):
    prose = dict(cell_type='markdown', source='Why *shapes*.\nMore of it.\n\nAnother paragraph.', metadata={}, id='b1')
    (tmp_path/'nbs'/'core').mkdir(parents=True)
    cells = [{**prose, 'source': '# Shapes\n\n> A shape'}, code('#| default_exp core.shape'), prose]
    (tmp_path/'nbs'/'core'/'00_shape.ipynb').write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    file = tmp_path/'mylib'/'core'/'shape.py'
    file.parent.mkdir(parents=True)
    file.write_text(module)
    assert fold.main([tmp_path/'mylib'])==0
    text = file.read_text()
    assert text.startswith('"""A shape\n\nWhy *shapes*. More of it.\n\nDocs: https')
    assert fold.main([tmp_path/'mylib'])==0 and file.read_text()==text


def test_a_kept_table_of_epochs_has_no_times(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/'tools'))
    export = tool('export')
    table = 'epoch  train_loss  accuracy      time\n    0    0.500000  0.900000     00:01\n'
    assert export.without_times(table)=='epoch  train_loss  accuracy\n    0    0.500000  0.900000\n'
    output = dict(output_type='display_data', data={'text/plain': table.splitlines(keepends=True)})
    assert export.clean_output(output) and not export.clean_output(output)
    assert export.without_times('it was 00:01\n')=='it was 00:01\n'


check_types = tool('check_types')


def test_findings_of_a_type_checker_only_shrink():
    said = 'mylib/a.py:3: error: bad [x]\nmylib/a.py:9: error: bad [x]\nmylib/b.py:1: note: see\nFound 2 errors'
    now = check_types.found(said)
    assert now=={'mylib/a.py: bad [x]': 2}
    assert check_types.read(check_types.listed(now))==now
    assert list(check_types.compare(now, now))==[]
    assert list(check_types.compare(now, check_types.read('1 mylib/a.py: bad [x]\n1 mylib/c.py: old\n')))==['new: mylib/a.py: bad [x]', 'gone: mylib/c.py: old']


def test_a_place_that_is_not_there_is_no_success():
    "A path that is mistyped would else count as a notebook that passed"
    for place in 'core/00_core.ipynb', 'no_such_place':
        done = subprocess.run([sys.executable, str(ROOT/'tools'/'test.py'), place], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode==1 and 'such as nbs/core' in done.stderr and 'passed' not in done.stdout
