"""A fit that is killed with SIGKILL at random moments, and started again until it is done, ends with the weights of one that was not

In short form three kills; with MYLIB_LONG=1 in the environment at least twenty, over all kinds of fits."""
import csv, json, os, random, re, signal, subprocess, sys, time, zipfile

import pytest
import torch
from torch import nn

import warm
from mylib.callback.checkpoint import Checkpoint
from mylib.callback.run import Watcher
from mylib.core.testing import synth_images
from mylib.data.loader import DataLoader
from mylib.data.loaders import DataLoaders
from mylib.learner.learner import Learner

pytestmark = pytest.mark.skipif(sys.platform=='win32', reason='Windows has no SIGKILL')
LONG = bool(os.environ.get('MYLIB_LONG'))

SCRIPT = """
import hashlib, os, random, sys
from pathlib import Path
import numpy as np
import torch
from torch import nn
from mylib.callback.checkpoint import Checkpoint
from mylib.callback.ema import EMA
from mylib.callback.gradient import GradientAccumulation, GradientClip
from mylib.callback.keep import ReduceLROnPlateau, SaveModelCallback
from mylib.callback.log import CSVLogger
from mylib.callback.mixup import CutMix, MixUp
from mylib.callback.run import Watcher
from mylib.data.loaders import DataLoaders
from mylib.learner.learner import Learner
from mylib.nn.blocks import small_resnet
from mylib.train.lookahead import ranger
from mylib.vision.augment import aug_transforms
from mylib.vision.data import ImageDataLoaders
from mylib.vision.learner import vision_learner
from mylib.vision.transform import FlipItem, RandomResizedCrop

kind,out,photos,cache,threads = sys.argv[1:6]
torch.set_num_threads(int(os.environ.get('N_TORCH', 1)))
random.seed(0); np.random.seed(0); torch.manual_seed(0)

def shaking(x):
    "A user's step that draws from the global streams"
    return x.rotate(90*random.random()*np.random.rand()*torch.rand(1).item()) if hasattr(x, 'rotate') else x

def loaders(**kwargs):
    return ImageDataLoaders.from_folder(photos, valid_pct=0.25, seed=1, bs=4, item_tfms=[RandomResizedCrop(32), FlipItem()], device='cpu',
                                        cache=dict(none=False, memory=None).get(cache, cache), num_workers=int(threads), **{'batch_tfms': aug_transforms(), **kwargs})

def net(): return nn.Sequential(small_resnet(3, 8, widths=(8, 16)), nn.Dropout(0.3), nn.Linear(8, 2))

class Tells(Watcher):
    "Says each training batch"
    def after_batch(self, run):
        if run.training: print('batch', flush=True)

class Noisy(torch.utils.data.Dataset):
    "Samples of PyTorch's own, changed by the global streams whenever they are read"
    def __init__(self): self.x,self.y = torch.randn(60, 3, 8, 8),torch.arange(60)%2
    def __len__(self): return 60
    def __getitem__(self, i): return self.x[i]+0.1*torch.randn(1)+0.01*random.random(),self.y[i]

def one_cycle(how):
    learn = Learner(loaders(), net(), cbs=[EMA(0.9), GradientAccumulation(2), MixUp()]).to_bf16()
    return learn, lambda: learn.fit_one_cycle(3, 0.01, **how)

def fine_tune(how):
    learn = vision_learner(loaders(), 'resnet10t', pretrained=False, cbs=[GradientClip(0.5), CutMix()])
    return learn, lambda: learn.fine_tune(2, 0.01, **how)

def flat_cos(how):
    learn = Learner(loaders(batch_tfms=[]), net(), opt_func=ranger, cbs=[SaveModelCallback(), GradientAccumulation(3)])
    return learn, lambda: learn.fit_flat_cos(4, 0.01, **how)

def sgdr(how):
    dls = ImageDataLoaders.from_folder(photos, valid_pct=0.25, seed=1, bs=4, item_tfms=[RandomResizedCrop(32), shaking], device='cpu')
    learn = Learner(dls, net(), cbs=[EMA(0.99)])
    return learn, lambda: learn.fit_sgdr(2, 1, 0.01, **how)

def constant(how):
    learn = Learner(loaders(), net(), cbs=[ReduceLROnPlateau(patience=1), EMA(0.9)])
    return learn, lambda: learn.fit(4, 0.02, **how)

def foreign(how):
    train = torch.utils.data.DataLoader(Noisy(), 4, shuffle=True)
    learn = Learner(DataLoaders(train, torch.utils.data.DataLoader(Noisy(), 30)), nn.Sequential(small_resnet(3, 8, widths=(8, 16)), nn.Dropout(0.3), nn.Linear(8, 2)),
                    loss_func=nn.CrossEntropyLoss(), metrics=[], cbs=[MixUp()])
    return learn, lambda: learn.fit_one_cycle(4, 0.01, **how)

checkpoint = dict(checkpoint=Checkpoint('ckpt', resume=True, every_steps=1)) if os.environ.get('RESUME') else {}
learn,fit = globals()[kind](dict(cbs=[CSVLogger('metrics.csv'), Tells()], **checkpoint))
learn.path,learn.bar = Path(out),False
fit()
weights = hashlib.sha256(b''.join(v.numpy().tobytes() for v in learn.model.state_dict().values())).hexdigest()
after = hashlib.sha256(repr((random.random(), np.random.rand(), torch.rand(1).item())).encode()).hexdigest()
print('done', weights, after, learn.history[-1]['train_loss'], learn.recorder.losses[-1], len(learn.recorder.losses), flush=True)
"""


def start(kind, out, photos, cache, threads):
    "A part of a fit that may have begun"
    out.mkdir(exist_ok=True)
    return warm.start(SCRIPT, kind, out, photos, cache, threads, RESUME='1')


def whole(kind, out, photos):
    "The fit in one go, in a new process: its hashes have another seed"
    out.mkdir()
    return subprocess.Popen([sys.executable, '-c', SCRIPT, kind, str(out), str(photos), 'none', '0'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})


def result(job):
    "The words of a job that ran to its end, but for the first, and the number of its batches"
    said,err = job.communicate(timeout=600)
    assert job.returncode==0, err
    lines = said.splitlines()
    return next(o for o in lines if o.startswith('done')).split()[1:], lines.count('batch')


def killed(job, batches, pause):
    "Kill `job` so many seconds after so many of its batches; False if it was done before"
    n = 0
    for line in job.stdout:
        n += line.startswith('batch')
        if n<batches: continue
        time.sleep(pause)
        was_running = job.poll() is None
        job.send_signal(signal.SIGKILL)
        job.communicate()
        return was_running
    job.communicate()
    return False


def rows(out):
    with open(out/'metrics.csv', newline='') as f: return [{k: v for k,v in r.items() if k!='seconds'} for r in csv.DictReader(f)]


short = [('one_cycle', 'memory', 3, 2), ('fine_tune', 'folder', 2, 1)] # kind of fit, cache, loader threads, kills
long = [('one_cycle', 'none', 0, 4), ('one_cycle', 'memory', 3, 4), ('fine_tune', 'folder', 2, 4), ('fine_tune', 'memory', 4, 4), ('flat_cos', 'folder', 3, 4), ('sgdr', 'memory', 0, 4),
        ('constant', 'memory', 2, 4), ('foreign', 'none', 0, 4)]


@pytest.mark.parametrize('kind,cache,threads,n_kills', long if LONG else short)
def test_killed_and_resumed_to_the_bit(tmp_path, kind, cache, threads, n_kills):
    photos = synth_images(tmp_path/'photos', n_per_class=40 if LONG else 24, size=48)
    expected,total = result(whole(kind, tmp_path/'whole', photos))
    out,rng = tmp_path/'parts',random.Random(len(kind)+threads)
    folder = tmp_path/'cache' if cache=='folder' else cache
    for _ in range(n_kills): # each after a small part of the batches, and then at any moment of one
        job = start(kind, out, photos, folder, threads)
        assert killed(job, rng.randint(1, total//(2*n_kills)), rng.random()*0.03), 'the fit ended before it was killed'
    assert result(start(kind, out, photos, folder, threads))[0]==expected
    assert rows(out)==rows(tmp_path/'whole')
    left = sorted(o.name for o in (out/'ckpt').iterdir())
    assert left==['last.ckpt'], left


def test_a_fit_with_weighted_samples_goes_on(tmp_path):
    "Which samples an epoch draws is a function of its seed and its number, so the rest of an epoch is the same after a stop in it"
    x,y = torch.linspace(-1, 1, 60)[:, None],torch.linspace(-1, 1, 60)[:, None]**3
    class Stops(Watcher):
        def after_batch(self, run):
            if run.training and run.epoch==1 and run.batch==4: raise KeyboardInterrupt

    def fitted(**kwargs):
        torch.manual_seed(0)
        seen,samples = [],list(zip(x, y))
        dls = DataLoaders(DataLoader(samples, 8, shuffle=True, seed=1, weights=[1+9*(i<6) for i in range(60)]), DataLoader(samples, 60))
        learn = Learner(dls, nn.Linear(1, 1), loss_func=nn.MSELoss(), metrics=[], path=tmp_path)
        class Sees(Watcher):
            def before_batch(self, run):
                if run.training: seen.append(run.xb[0].flatten().tolist())
        try:
            with learn.no_bar(): learn.fit(3, 0.1, cbs=[Sees(), *kwargs.pop('cbs', [])], **kwargs)
        except KeyboardInterrupt: pass
        return [o.tolist() for o in learn.model.parameters()], seen

    whole,order = fitted()
    _,before = fitted(cbs=[Stops()], checkpoint=Checkpoint('ckpt', every_steps=1))
    resumed,after = fitted(checkpoint='ckpt', resume=True)
    assert resumed==whole and len(order)==3*8
    assert before==order[:len(before)] and after==order[-len(after):] and 8<len(before)<16 and len(before)+len(after)>=len(order)
    assert sum(v<-0.8 for batch in order for v in batch)>0.4*3*60 # the first six of sixty, ten times as often: 60/114


def test_full_disk_keeps_the_last_checkpoint(tmp_path):
    "Files may not grow beyond 60 kB, the checkpoint does: the fit goes on, says so, and what was there stays"
    code = """
import resource, signal, sys, warnings
from pathlib import Path
import torch
from torch import nn
from mylib.callback.checkpoint import Checkpoint
from mylib.callback.run import Watcher
from mylib.core.state import read_state
from mylib.core.testing import synth_line
from mylib.data.loader import DataLoader
from mylib.data.loaders import DataLoaders
from mylib.learner.learner import Learner

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
class Fills(Watcher):
    def before_epoch(self, run):
        if run.epoch==1: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))

x,y = synth_line(64)
samples = list(zip(x, y))
learn = Learner(DataLoaders(DataLoader(samples, 16, shuffle=True, seed=1), DataLoader(samples, 64)), nn.Sequential(nn.Linear(1, 9000), nn.Linear(9000, 1)), loss_func=nn.MSELoss(), metrics=[], path=sys.argv[1])
learn.bar = False
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter('always')
    learn.fit(3, checkpoint='ckpt', cbs=Fills())
found = read_state(Path(sys.argv[1])/'ckpt/last.ckpt')
print(found['run']['epoch'], len(learn.history), len(said), str(said[0].message), sorted(o.name for o in (Path(sys.argv[1])/'ckpt').iterdir()))
"""
    if sys.platform=='darwin': pytest.skip('macOS does not bound the size of files so')
    done = warm.run(code, tmp_path)
    assert done.returncode==0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.match(r"1 3 2 .*last\.ckpt cannot be written: File too large\. Choose a folder that you may write to, with enough free space\. The checkpoint before it is still there, and the fit goes on\. \['last\.ckpt'\]$", last), last


def test_the_command_goes_on(tmp_path):
    "`mylib train --resume`, after a kill in the middle of a training on the embedded digits"
    def mylib(*words): return warm.start(warm.command, 'train', *words, cwd=tmp_path, MYLIB_HOME=tmp_path/'home')
    said,err = mylib('--epochs', '4', '--out', 'whole').communicate(timeout=600)
    assert 'accuracy' in said, err
    job = mylib('--epochs', '4', '--out', 'parts')
    for line in job.stdout:
        if line.split()[:1]==['1']: break
    time.sleep(0.3)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    said,err = mylib('--resume', '--epochs', '5', '--out', 'parts').communicate(timeout=600)
    assert '--epochs is 5 now, but was 4' in err
    said,err = mylib('--resume', '--out', 'parts').communicate(timeout=600)
    assert 'going on in epoch' in said and 'accuracy' in said, (said, err)
    assert rows(tmp_path/'parts')==rows(tmp_path/'whole')
    one,two = (json.loads(zipfile.ZipFile(tmp_path/o/'model.mylib').read('bundle.json')) for o in ('whole', 'parts'))
    assert one['sha256']==two['sha256']
    assert not (tmp_path/'parts/checkpoint').exists() and (tmp_path/'parts/report.html').stat().st_size>10_000
