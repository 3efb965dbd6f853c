"""Our side of the benchmarks; see `common.Side`"""
import contextlib, copy, ctypes, gc, io, platform, resource, time, weakref
from itertools import cycle
from pathlib import Path

import torch
import torchvision
from torch import nn

from mylib.core.core import generator
from mylib.data.loaders import DataLoaders
from mylib.data.transform import transform_slots
from mylib.learner.learner import Learner
from mylib.train.losses import CrossEntropyLossFlat
from mylib.train.optimizer import make_groups
from mylib.vision.augment import Flip, aug_transforms
from mylib.vision.data import ImageDataLoaders
from mylib.vision.image import PILImage, TensorImage
from mylib.vision.learner import vision_learner
from mylib.vision.transform import FlipItem, RandomResizedCrop, Resize

from common import serve, warm_allocator


def timed(f):
    "Wall and CPU seconds of `f`, with those of processes that it ended"
    def cpu(): return time.process_time()+sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    began = time.perf_counter(),cpu()
    f()
    return time.perf_counter()-began[0], cpu()-began[1]


class Task:
    def versions(self): return f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    def peak(self): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


class Loop(Task):
    def __init__(self, widths, bs, n):
        torch.set_num_threads(1)
        gen,self.widths = torch.Generator().manual_seed(0),widths
        self.batches = [(torch.randn(bs, widths[0], generator=gen), torch.randint(widths[-1], (bs,), generator=gen)) for _ in range(n)]

    def fit(self):
        torch.manual_seed(0)
        model = nn.Sequential(*[o for i,j in zip(self.widths, self.widths[1:]) for o in (nn.Linear(i, j), nn.ReLU())][:-1])
        learn = Learner(DataLoaders(self.batches), model, loss_func=CrossEntropyLossFlat(), metrics=[])
        with learn.no_bar(), contextlib.redirect_stdout(io.StringIO()): return timed(lambda: learn.fit_one_cycle(1, 1e-3))[0]


item_tfms = dict(random=lambda size: [RandomResizedCrop(size, min_scale=0.35), FlipItem()], resize=lambda size: [Resize(size)])


class Pipeline(Task):
    def __init__(self, path, kind, size, bs, workers, threads, cache=None):
        torch.set_num_threads(threads)
        self.make = lambda: ImageDataLoaders.from_folder(path, valid_pct=0.01, seed=1, bs=bs, item_tfms=item_tfms[kind](size), num_workers=workers, device='cpu', cache=cache)
        self.dls = None

    def epoch(self, first):
        "Pictures a second, of a new loader if it is to be a `first` epoch"
        if first or self.dls is None: self.dls = self.make()
        began = time.perf_counter()
        n = sum(len(o[0]) for o in self.dls.train)
        return n/(time.perf_counter()-began)


def photo_learner(path, arch, weights, size, bs, workers, augment, cache=None):
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.05, seed=1, bs=bs, item_tfms=[RandomResizedCrop(size, min_scale=0.35)],
                                       batch_tfms=aug_transforms() if augment else [], num_workers=workers, device='cpu', cache=cache)
    learn = vision_learner(dls, arch, pretrained=False, weights=weights)
    learn.unfreeze()
    return learn


def plain_epoch(model, opt, loss_func, train, valid):
    model.train()
    for x,y in train:
        loss_func(model(x), y).backward()
        opt.step()
        opt.zero_grad()
    model.eval()
    with torch.no_grad():
        for x,_ in valid: model(x)


class FineTune(Task):
    def __init__(self, precision=None, **kwargs): self.learn = photo_learner(**kwargs).to_precision(precision)

    def epoch(self):
        with self.learn.no_bar(), contextlib.redirect_stdout(io.StringIO()): return timed(lambda: self.learn.fit_one_cycle(1, 1e-3))
    def accuracy(self): return 1-self.learn.history[-1]['error_rate']

    def alone(self):
        "Wall and CPU seconds of an epoch of the model alone, a plain loop over batches that are there"
        if not hasattr(self, 'bare'): self.bare = copy.deepcopy(self.learn.model),*map(list, self.learn.dls)
        model,train,valid = self.bare
        opt = self.learn.opt_func(make_groups(model, self.learn.splitter), lr=1e-3)
        return timed(lambda: plain_epoch(model, opt, self.learn.loss_func, train, valid))


class Augment(Task):
    def __init__(self, kind, bs, size, threads):
        torch.set_num_threads(threads)
        self.tfm = dict(flip=Flip, aug_transforms=lambda: aug_transforms()[0])[kind]()
        self.x = TensorImage(torch.randint(256, (bs, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
        self.gen = generator(0)

    def once(self): return timed(lambda: transform_slots(self.tfm, (self.x,), self.gen, training=True))[0]


class Predict(Task):
    def __init__(self, path, arch, size, workers, threads):
        torch.set_num_threads(threads)
        warm_allocator()
        self.learn = photo_learner(path, arch, None, size, 32, workers, False)
        self.files = cycle(sorted(map(str, Path(path).rglob('*.jpg'))))
        self.opened = PILImage.create(next(self.files))

    def one(self, n, opened):
        "Seconds of each of `n` predictions, of files that were not seen before or of one picture"
        with self.learn.no_bar(): return [timed(lambda: self.learn.predict(self.opened if opened else next(self.files)))[0] for _ in range(n)]

    def many(self, path, bs):
        dl = self.learn.dls.test_dl(sorted(map(str, Path(path).rglob('*.jpg'))), bs=bs)
        with self.learn.no_bar(): return timed(lambda: self.learn.get_preds(dl=dl))[0]


def resident():
    "Megabytes that this process holds"
    return int(Path('/proc/self/statm').read_text().split()[1])*resource.getpagesize()/2**20


class GivenBack(FineTune):
    "What is left after `del learn`, with the garbage collector off"
    def left(self):
        gc.disable()
        before,kept = resident(),[weakref.ref(o) for o in (self.learn, self.learn.model, self.learn.dls, self.learn.dls.train, *self.learn.model.parameters())]
        del self.learn
        alive = sum(o() is not None for o in kept)
        after = resident()
        ctypes.CDLL(None).malloc_trim(0) # C's allocator keeps what it was given back, for later
        return dict(before=before, after=after, trimmed=resident(), alive=alive, objects=len(kept))


if __name__=='__main__': serve({k: v for k,v in globals().items() if isinstance(v, type) and issubclass(v, Task)})
