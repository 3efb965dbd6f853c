"""fastai's side of the benchmarks, run in an environment that has fastai and not our library; see `common.Side`"""
import ctypes, gc, platform, resource, time, warnings, weakref
from importlib.metadata import version
from itertools import cycle
from pathlib import Path

import torch
import torchvision
from fastai.vision.all import (CrossEntropyLossFlat, DataLoaders, Flip, FlipItem, ImageDataLoaders, IntToFloatTensor, Learner, Pipeline as Steps,
                               PILImage, RandomResizedCrop, Resize, TensorImage, aug_transforms, error_rate, vision_learner)
from torch import nn

from common import serve, warm_allocator

warnings.simplefilter('ignore')


def timed(f):
    "Wall and CPU seconds of `f`, with those of processes that it ended"
    def cpu(): return time.process_time()+sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    began = time.perf_counter(),cpu()
    f()
    return time.perf_counter()-began[0], cpu()-began[1]


class Task:
    def versions(self): return f"{version('fastai')}, Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    def peak(self): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


class Batches(list):
    n_inp,device = 1,torch.device('cpu')


class Loop(Task):
    def __init__(self, widths, bs, n):
        torch.set_num_threads(1)
        gen,self.widths = torch.Generator().manual_seed(0),widths
        self.batches = Batches((torch.randn(bs, widths[0], generator=gen), torch.randint(widths[-1], (bs,), generator=gen)) for _ in range(n))

    def fit(self):
        torch.manual_seed(0)
        model = nn.Sequential(*[o for i,j in zip(self.widths, self.widths[1:]) for o in (nn.Linear(i, j), nn.ReLU())][:-1])
        learn = Learner(DataLoaders(self.batches, Batches(self.batches[:1]), device='cpu'), model, loss_func=CrossEntropyLossFlat())
        with learn.no_bar(), learn.no_logging(): return timed(lambda: learn.fit_one_cycle(1, 1e-3))[0]


item_tfms = dict(random=lambda size: [RandomResizedCrop(size, min_scale=0.35), FlipItem()], resize=lambda size: [Resize(size)])


class Pipeline(Task):
    def __init__(self, path, kind, size, bs, workers, threads):
        torch.set_num_threads(threads)
        self.make = lambda: ImageDataLoaders.from_folder(path, valid_pct=0.01, seed=1, bs=bs, item_tfms=item_tfms[kind](size), num_workers=workers, device='cpu')
        self.dls = None

    def epoch(self, first):
        "Pictures a second, of a new loader if it is to be a `first` epoch"
        if first or self.dls is None: self.dls = self.make()
        began = time.perf_counter()
        n = sum(len(o[0]) for o in self.dls.train)
        return n/(time.perf_counter()-began)


def photo_learner(path, arch, weights, size, bs, workers, augment):
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.05, seed=1, bs=bs, item_tfms=[RandomResizedCrop(size, min_scale=0.35)],
                                       batch_tfms=aug_transforms() if augment else [], num_workers=workers, device='cpu')
    learn = vision_learner(dls, arch, pretrained=False, metrics=error_rate)
    if weights is not None:
        from safetensors.torch import load_file
        left = learn.model[0].model.load_state_dict({k: v.float() if v.is_floating_point() else v for k,v in load_file(weights).items()}, strict=False)
        assert not left.missing_keys, left.missing_keys
    learn.unfreeze()
    return learn


class FineTune(Task):
    def __init__(self, **kwargs): self.learn = photo_learner(**kwargs)

    def epoch(self):
        with self.learn.no_bar(), self.learn.no_logging(): return timed(lambda: self.learn.fit_one_cycle(1, 1e-3))
    def accuracy(self): return 1-self.learn.recorder.values[-1][-1]


class Augment(Task):
    def __init__(self, kind, bs, size, threads):
        torch.set_num_threads(threads)
        tfms = [IntToFloatTensor(), *dict(flip=lambda: [Flip()], aug_transforms=aug_transforms)[kind]()]
        self.steps = Steps(tfms, split_idx=0)
        self.x = TensorImage(torch.randint(256, (bs, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))

    def once(self): return timed(lambda: self.steps(self.x))[0]


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
