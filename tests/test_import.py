"Importing the library does no work: no device is started, no file of the user is opened, and what is heavy and optional waits until it is used"
import json, os, subprocess, sys

import pytest

heavy = 'timm', 'sklearn', 'ipywidgets', 'transformers', 'tokenizers', 'accelerate', 'starlette', 'uvicorn', 'ddgs', 'tensorboard', 'huggingface_hub', 'IPython'

look = """
import json, os, random, sys, threading, warnings
home,opened = os.environ['HOME'],[]
def audit(event, args):
    if event in ('open', 'os.mkdir', 'os.listdir', 'os.scandir') and isinstance(args[0], str) and os.path.abspath(args[0]).startswith(home): opened.append(args[0])
    if event.startswith('socket.') and event!='socket.__new__': opened.append(event)
    if event in ('subprocess.Popen', 'os.system', 'os.fork', 'os.exec'): opened.append(event)
import numpy, torch, torchvision, pandas, matplotlib.pyplot
from torchvision import tv_tensors
before = torch.get_rng_state(),random.getstate(),numpy.random.get_state()[1].tolist(),torch.get_num_threads(),dict(os.environ),dict(matplotlib.rcParams),torch.get_default_dtype()
known = set(sys.modules)
threads = threading.active_count()
sys.addaudithook(audit)
calls = [0]
def count(_frame, event, _arg): calls[0] += event=='call'
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter('always')
    sys.setprofile(count)
    WHAT
    sys.setprofile(None)
after = torch.get_rng_state(),random.getstate(),numpy.random.get_state()[1].tolist(),torch.get_num_threads(),dict(os.environ),dict(matplotlib.rcParams),torch.get_default_dtype()
print(json.dumps(dict(modules=sorted({o.partition('.')[0] for o in set(sys.modules)-known}), cuda=torch.cuda.is_initialized(), opened=opened, calls=calls[0],
                      same=[bool((a==b) if not isinstance(a, torch.Tensor) else a.equal(b)) for a,b in zip(before, after)], threads=threading.active_count()-threads,
                      said=[str(o.message) for o in said], figures=matplotlib.pyplot.get_fignums(), all_modules=sorted(sys.modules))))
"""

every_module = """import importlib, pkgutil, mylib
    for o in pkgutil.walk_packages(mylib.__path__, 'mylib.'): importlib.import_module(o.name)"""


@pytest.fixture(scope='module', params=['from mylib.vision import all', every_module], ids=['vision', 'everything'])
def seen(request, tmp_path_factory):
    "What an import does, in a process of its own whose home is empty"
    home,other = tmp_path_factory.mktemp('home'),tmp_path_factory.mktemp('other')
    env = {k: v for k,v in os.environ.items() if not k.startswith(('XDG_', 'HF_', 'MYLIB_'))}
    env.update(HOME=str(home), USERPROFILE=str(home), MPLCONFIGDIR=str(other))
    done = subprocess.run([sys.executable, '-c', look.replace('WHAT', request.param)], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode==0, done.stderr
    assert done.stderr=='', done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), 'printed': done.stdout.splitlines()[:-1], 'home': [o.name for o in home.iterdir()]}


def test_no_device_is_started(seen): assert not seen['cuda']
def test_nothing_of_the_user_is_opened(seen): assert (seen['opened'], seen['home'])==([], [])
def test_what_is_heavy_waits(seen): assert [o for o in heavy if o in seen['modules']]==[]
def test_no_global_setting_is_touched(seen): assert seen['same']==[True]*7
def test_no_thread_and_no_figure(seen): assert (seen['threads'], seen['figures'])==(0, [])
def test_nothing_is_said(seen): assert (seen['said'], seen['printed'])==([], [])
def test_it_does_little_work(seen): assert seen['calls']<1_000_000, seen['calls'] # of Python functions


def test_the_command_answers_at_once():
    "Help, a version and a misspelt command read the words only: nothing heavy is imported"
    for words,told in (['--help'], 'predict'),(['train', '--help'], '--epochs'),(['--version'], 'mylib '),(['trian'], 'Did you mean train'):
        code = f"""import sys
sys.argv = ['mylib', *{words}]
from mylib.deploy.cli import main
try: main()
finally: print([o for o in ('torch', 'numpy', 'pandas', 'matplotlib', 'PIL', 'fastcore') if o in sys.modules])"""
        done = subprocess.run([sys.executable, '-S', '-c', f"import sys; sys.path = {sys.path!r}\n{code}"], capture_output=True, text=True, timeout=600)
        assert told in done.stdout+done.stderr and done.stdout.splitlines()[-1]=='[]', (done.stdout, done.stderr)


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version
    import mylib
    assert mylib.__version__==version('mylib')


def test_every_extra_is_used():
    "An extra is offered when some module imports what it installs, and not before"
    import re
    from configparser import ConfigParser
    from pathlib import Path
    root = Path(__file__).resolve().parent.parent
    config = ConfigParser()
    config.read(root/'settings.ini', encoding='utf-8')
    extras = {k: v.split() for k,v in config['DEFAULT'].items() if k.endswith('_requirements') and k!='dev_requirements'}
    text = '\n'.join(o.read_text(encoding='utf-8') for o in (root/'mylib').rglob('*.py'))
    unused = [(k, o) for k,names in extras.items() for o in names if not re.search(rf'^\s*(import|from) {re.split("[<>=!~]", o)[0].replace("-", "_")}\b', text, re.M)]
    assert extras and unused==[]


def test_a_star_import_leaves_imported_modules_alone():
    "A program that imports `copy` first finds the module in its place afterwards; `array` is numpy's, as lessons use it"
    import mylib.tabular.all, mylib.vision.all
    given = {n: getattr(m, n) for m in (mylib.vision.all, mylib.tabular.all) for n in m.__all__ if n in sys.stdlib_module_names and n!='array'}
    assert given and [n for n, o in given.items() if o is not sys.modules[n]]==[]
