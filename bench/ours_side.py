"""Our side of the benchmarks; see `common.Side`"""
import contextlib, copy, io
from types import SimpleNamespace

import torch

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

from common import serve
from tasks import GivesBack, LoopTask, PhotoTask, PipelineTask, PredictTask, Task, some_bytes, tasks_in, timed

lib = SimpleNamespace(ImageDataLoaders=ImageDataLoaders, PILImage=PILImage, FlipItem=FlipItem, RandomResizedCrop=RandomResizedCrop, Resize=Resize, aug_transforms=aug_transforms)


def one_cycle(learn):
    "Wall and CPU seconds of an epoch"
    with learn.no_bar(), contextlib.redirect_stdout(io.StringIO()): return timed(lambda: learn.fit_one_cycle(1, 1e-3))


class Loop(LoopTask):
    def fit(self): return one_cycle(Learner(DataLoaders(self.batches), self.model(), loss_func=CrossEntropyLossFlat(), metrics=[]))[0]


class Pipeline(PipelineTask): lib = lib


def plain_epoch(model, opt, loss_func, train, valid):
    model.train()
    for x,y in train:
        loss_func(model(x), y).backward()
        opt.step()
        opt.zero_grad()
    model.eval()
    with torch.no_grad():
        for x,_ in valid: model(x)


class Photos(PhotoTask):
    lib = lib
    def make_learner(self, dls, arch, weights): return vision_learner(dls, arch, pretrained=False, weights=weights)


class FineTune(Photos):
    def __init__(self, **kwargs): self.prepare(**kwargs)
    def epoch(self): return one_cycle(self.learn)
    def accuracy(self): return 1-self.learn.history[-1]['error_rate']

    def alone(self):
        "Wall and CPU seconds of an epoch of the model alone, a plain loop over batches that are there"
        if not hasattr(self, 'bare'): self.bare = copy.deepcopy(self.learn.model),*map(list, self.learn.dls)
        model,train,valid = self.bare
        opt = self.learn.opt_func(make_groups(model, self.learn.splitter), lr=1e-3)
        return timed(lambda: plain_epoch(model, opt, self.learn.loss_func, train, valid))


class GivenBack(GivesBack, FineTune): pass
class Predict(PredictTask, Photos): pass


class Augment(Task):
    def __init__(self, kind, bs, size, threads):
        torch.set_num_threads(threads)
        self.tfm = dict(flip=Flip, aug_transforms=lambda: aug_transforms()[0])[kind]()
        self.x,self.gen = TensorImage(some_bytes(bs, size)),generator(0)

    def once(self): return timed(lambda: transform_slots(self.tfm, (self.x,), self.gen, training=True))[0]


if __name__=='__main__': serve(tasks_in(globals()))
