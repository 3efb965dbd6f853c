"Ctrl-C in a fit leaves a learner that can be used; a process killed while it writes leaves the file that was there before"
import os, signal, subprocess, sys, time

import pytest

import warm
import mylib.data.loader
from mylib.core.testing import synth_table
from mylib.data.loader import DataLoader
from mylib.tabular.parquet import ParquetDataLoaders, ParquetLoader

pytestmark = pytest.mark.skipif(sys.platform=='win32', reason='needs POSIX signals')

setup = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from torch import nn
torch.set_num_threads(1)
from mylib.callback.keep import load_model
from mylib.callback.run import Watcher
from mylib.core.testing import synth_images
from mylib.deploy.load import load_learner
from mylib.vision.augment import aug_transforms
from mylib.vision.data import ImageDataLoaders
from mylib.vision.learner import vision_learner
from mylib.vision.transform import Resize
path = synth_images(Path(sys.argv[1])/'shapes', n_per_class=20)
dls = ImageDataLoaders.from_folder(path, valid_pct=0.25, seed=1, bs=6, item_tfms=Resize(32), batch_tfms=aug_transforms(), num_workers=2, device='cpu')
learn = vision_learner(dls, 'resnet10t', pretrained=False, lin_ftrs=[8])
learn.path,learn.bar = Path(sys.argv[1]),False
"""

interrupted = setup+"""
for i in range(int(sys.argv[2])):
    try:
        print('fitting', flush=True)
        learn.fit_one_cycle(100_000, 1e-4)
    except KeyboardInterrupt as e: said = str(e)
    assert said.startswith('Stopped in epoch') and 'The model is as the last step left it' in said, said
    assert all(p.grad is None for p in learn.model.parameters())
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())
    learn.save('after')
    learn.load('after')
    preds = learn.get_preds()[0]
    file = learn.export()
    assert torch.allclose(load_learner(file).get_preds(dl=learn.dls.valid)[0], preds, atol=1e-5)
    learn.fit(1)
    assert len(learn.history)==1
    print('fine', flush=True)
"""


def said(process, word, end):
    "Wait until `process` prints `word`"
    while time.time()<end:
        line = process.stdout.readline()
        if line.strip()==word: return
        assert line, process.communicate(timeout=600)[1]
    raise AssertionError(f'{word!r} did not come')


def test_ctrl_c_leaves_a_learner_that_saves_predicts_exports_and_fits(tmp_path):
    "At several moments: in the first batch, within an epoch, between epochs"
    pauses,end = (0.02, 0.3, 0.5, 0.71, 0.93),time.time()+6000
    p = warm.start(interrupted, tmp_path, len(pauses))
    try:
        for pause in pauses:
            said(p, 'fitting', end)
            time.sleep(pause)
            p.send_signal(signal.SIGINT)
            said(p, 'fine', end)
        _,err = p.communicate(timeout=600)
        assert p.returncode==0, err
    finally: p.kill()


def test_ctrl_c_at_top_level_shows_a_line_and_no_stack_of_ours(tmp_path):
    "What a person sees who does not catch it"
    p = subprocess.Popen([sys.executable, '-c', setup+"print('fitting', flush=True); learn.fit(100_000)", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said(p, 'fitting', time.time()+600)
        time.sleep(0.5)
        p.send_signal(signal.SIGINT)
        _,err = p.communicate(timeout=600)
    finally: p.kill()
    assert p.returncode!=0
    assert err.strip().splitlines()[-1].startswith('KeyboardInterrupt: Stopped in epoch'), err
    assert err.count('Traceback (most recent call last)')==1 and err.count('File "')<=5, err


@pytest.mark.parametrize('kind', ['items', 'parquet'])
def test_ctrl_c_while_the_threads_of_an_epoch_end_is_not_lost(kind, tmp_path, monkeypatch):
    "Python ignores what is raised in the destructor of a generator, so none may be left to it"
    def interrupted(real):
        def _f(*args):
            try: yield from real(*args)
            finally: raise KeyboardInterrupt
        return _f
    if kind=='items':
        monkeypatch.setattr(mylib.data.loader, 'in_threads', interrupted(mylib.data.loader.in_threads))
        dl = DataLoader([(float(i), i) for i in range(10)], 4, num_workers=2)
    else:
        synth_table(100).to_parquet(tmp_path/'people.parquet', row_group_size=30)
        dls = ParquetDataLoaders.from_parquet(tmp_path/'people.parquet', cont_names=['age'], y_names='rich', seed=1, bs=16, device='cpu')
        monkeypatch.setattr(ParquetLoader, '_read_ahead', interrupted(ParquetLoader._read_ahead))
        dl = dls.train
    n = 0
    with pytest.raises(KeyboardInterrupt):
        for _ in dl.batches(): n += 1
    assert n==len(dl)


killed = setup+"""
def weights(x):
    "All weights of the model are `x`"
    with torch.no_grad():
        for p in learn.model.parameters(): p.fill_(x)

def write_again_and_again(do):
    for i in range(100_000): weights(float(i)); do()

def child(do, seconds):
    "A process that writes until it is killed; fork is quick, so that many can be"
    pid = os.fork()
    if not pid:
        try: write_again_and_again(do)
        finally: os._exit(1)
    time.sleep(seconds)
    assert os.waitpid(pid, os.WNOHANG)==(0, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

def same_everywhere(model): return len({o.item() for p in model.parameters() for o in (p.min(), p.max())})==1

random.seed(0)
weights(1.)
learn.export(); learn.save('kept')
for _ in range(int(sys.argv[2])):
    child(learn.export, random.uniform(0.02, 0.2))
    assert same_everywhere(load_learner(learn.path/'export.pkl').model)
    child(lambda: learn.save('kept'), random.uniform(0.02, 0.2))
    load_model(learn.path/'models'/'kept.pth', learn.model)
    assert same_everywhere(learn.model)
left = [o.name for o in learn.path.iterdir()]+[o.name for o in (learn.path/'models').iterdir()]
assert {o for o in left if not o.endswith('.part')}=={'shapes', 'models', 'export.pkl', 'kept.pth'}, left
print('fine')
"""


def test_killed_while_writing(tmp_path):
    "Whenever the process is killed, the file under the final name is whole: the last one, or the one before it"
    done = warm.run(killed, tmp_path, 6)
    assert done.stdout.strip().endswith('fine'), done.stdout+done.stderr
