"""Our side of the benchmarks; see `common.Side`"""
import contextlib, copy, io
from functools import partial
from types import SimpleNamespace

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn

from mylib.core.core import generator
from mylib.data.block import CategoryBlock, MultiCategoryBlock
from mylib.data.datablock import DataBlock
from mylib.data.loaders import DataLoaders
from mylib.data.split import IndexSplitter
from mylib.data.transform import transform_slots
from mylib.learner.learner import Learner
from mylib.tabular.collab import collab_learner
from mylib.tabular.data import TabularDataLoaders
from mylib.tabular.learner import tabular_learner
from mylib.tabular.procs import Categorify, FillMissing, Normalize
from mylib.tabular.ratings import CollabDataLoaders
from mylib.tabular.table import TabularPandas
from mylib.text.awd_lstm import AWD_LSTM
from mylib.text.data import TextDataLoaders
from mylib.text.write import language_model_learner
from mylib.text.awd_lstm import AWD_LSTM
from mylib.text.data import TextDataLoaders
from mylib.text.write import language_model_learner
from mylib.train.losses import CrossEntropyLossFlat
from mylib.train.optimizer import make_groups
from mylib.vision.augment import aug_transforms
from mylib.vision.block import ImageBlock
from mylib.vision.data import ImageDataLoaders
from mylib.vision.image import PILImage, TensorImage, TensorMask, TensorPoint
from mylib.vision.learner import vision_learner
from mylib.vision.mask import MaskBlock
from mylib.vision.point import PointBlock
from mylib.vision.shorthand import Flip
from mylib.vision.tensor import Normalize as NormalizeImages, imagenet_stats
from mylib.vision.transform import FlipItem, RandomResizedCrop, Resize
from mylib.vision.unet_learner import unet_learner

from common import serve
from tasks import GivesBack, JudgedTask, LoopTask, PhotoTask, PipelineTask, PredictTask, PrepareTask, ReviewsTask, RowsTask, Task, adult, augmented, tasks_in, timed

lib = SimpleNamespace(ImageDataLoaders=ImageDataLoaders, PILImage=PILImage, FlipItem=FlipItem, RandomResizedCrop=RandomResizedCrop, Resize=Resize, aug_transforms=aug_transforms,
                      DataBlock=DataBlock, ImageBlock=ImageBlock, MaskBlock=MaskBlock, PointBlock=PointBlock, MultiCategoryBlock=MultiCategoryBlock, CategoryBlock=CategoryBlock,
                      IndexSplitter=IndexSplitter, Normalize=NormalizeImages, imagenet_stats=imagenet_stats, TextDataLoaders=TextDataLoaders)


@contextlib.contextmanager
def quiet(learn):
    "Without the bar, and with the table written to nowhere"
    with learn.no_bar(), contextlib.redirect_stdout(io.StringIO()): yield


def one_cycle(learn):
    "Wall and CPU seconds of an epoch"
    with quiet(learn): return timed(lambda: learn.fit_one_cycle(1, 1e-3))


class Loop(LoopTask):
    def fit(self): return one_cycle(Learner(DataLoaders(self.batches), self.model(), loss_func=CrossEntropyLossFlat(), metrics=[]))[0]


class Pipeline(PipelineTask): lib = lib


def plain_epoch(model, opt, loss_func, train, valid, dtype=None):
    "An epoch over batches that are there, with `dtype` in autocast"
    cast = partial(torch.autocast, train[0][0].device.type, dtype=dtype, enabled=dtype is not None)
    model.train()
    for x,y in train:
        with cast(): pred = model(x)
        loss_func(pred.float(), y).backward()
        opt.step()
        opt.zero_grad()
    model.eval()
    with torch.no_grad(), cast():
        for x,_ in valid: model(x)


class Photos(PhotoTask):
    lib = lib
    def make_learner(self, dls, arch, weights): return vision_learner(dls, arch, pretrained=False, weights=weights)


class Trains:
    "For a task with a learner: an epoch of a fit, and of the model alone"
    def epoch(self): return one_cycle(self.learn)

    def alone(self):
        "Wall and CPU seconds of an epoch of the model alone, a plain loop over batches that are there"
        if not hasattr(self, 'bare'): self.bare = copy.deepcopy(self.learn.model),*map(list, self.learn.dls)
        model,train,valid = self.bare
        opt = self.learn.opt_func(make_groups(model, self.learn.splitter), lr=1e-3)
        return timed(lambda: plain_epoch(model, opt, self.learn.loss_func, train, valid, self.learn.mixed_dtype))


class FineTune(Trains, Photos):
    def __init__(self, **kwargs): self.prepare(**kwargs)
    def accuracy(self): return 1-self.learn.history[-1]['error_rate']


class Judged(Trains, JudgedTask):
    lib,quiet = lib,staticmethod(quiet)
    def loader_args(self, seed): return dict(seed=seed)
    def judged_learner(self, dls):
        make = unet_learner if self.kind=='masks' else vision_learner
        return make(dls, 'mobilenetv2_100', pretrained=False, weights=f'{self.weights}/mobilenetv2_100.safetensors')


class SmpUnet(Judged):
    "The U-Net of segmentation-models-pytorch, in our loop and on our batches"
    def judged_learner(self, dls):
        import segmentation_models_pytorch as smp
        model = smp.Unet('mobilenet_v2', encoder_weights=None, classes=dls.c).to(memory_format=torch.channels_last)
        weights = {k: v.float() if v.is_floating_point() else v for k,v in load_file(f'{self.weights}/mobilenet_v2.safetensors').items()}
        model.encoder.load_state_dict(weights)
        def split(m): return [list(m.encoder.parameters()), [*m.decoder.parameters(), *m.segmentation_head.parameters()]]
        return Learner(dls, model, lr=5e-3, splitter=split)


class GivenBack(GivesBack, FineTune): pass
class Predict(PredictTask, Photos): pass


class Augment(Task):
    def __init__(self, kind, bs, size, threads):
        torch.set_num_threads(threads)
        self.tfm,self.gen = Flip() if kind=='flip' else aug_transforms()[0],generator(0)
        x,*y = augmented(kind, bs, size)
        kinds = dict(masks=TensorMask, points=lambda o: TensorPoint(o, canvas_size=(size, size)))
        self.y = tuple(map(kinds.get(kind), y))
        self.x,self.last = (TensorImage(o) for o in (x, x.contiguous(memory_format=torch.channels_last)))

    def once(self, last=False):
        xs = self.last if last else self.x,*self.y
        return timed(lambda: transform_slots(self.tfm, xs, self.gen, training=True))


class Rows(RowsTask):
    one_cycle = staticmethod(one_cycle)
    def make_learner(self, kind, df):
        if kind=='ratings': return collab_learner(CollabDataLoaders.from_df(df, seed=1, bs=64, device=self.device), n_factors=50, y_range=(0, 5.5), metrics=[])
        arch = dict(arch='mlp', layers=[200, 100]) if kind=='adult' else {}
        return tabular_learner(TabularDataLoaders.from_df(df, seed=1, bs=64, device=self.device, **adult), metrics=[], **arch)

    def bare(self):
        "Seconds of an epoch of the same model in a loop as one writes it by hand: order, batches by indexing, one-cycle schedule, validation"
        if not hasattr(self, 'copied'): self.copied = copy.deepcopy(self.learn.model)
        model,dls,loss_func = self.copied,self.learn.dls,self.learn.loss_func
        opt = self.learn.opt_func(make_groups(model), lr=1e-3)
        train,valid = ([(t.long() if t.dtype==torch.int32 else t).to(self.device) for t in o.tensors] for o in (dls.train_ds, dls.valid_ds))
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-3, total_steps=len(dls.train)+1, base_momentum=0.85, max_momentum=0.95)
        def epoch():
            model.train()
            for idx in torch.randperm(len(train[0]), device=self.device).split(64)[:len(dls.train)]: # a last batch of one row is left out, as ours does
                *xs,y = (t[idx] for t in train)
                loss_func(model(*xs), y).backward()
                opt.step()
                opt.zero_grad()
                sched.step()
            model.eval()
            with torch.no_grad():
                for *xs,y in zip(*(t.split(4096) for t in valid)): loss_func(model(*xs), y)
        return timed(epoch)[0]

    def forward(self, n):
        "Seconds of each of `n` forward passes of a row"
        xs = self.learn.dls.valid.few(1)[:2]
        self.learn.model.eval()
        with torch.no_grad(): return [timed(lambda: self.learn.model(*xs))[0] for _ in range(n)]

    def bare_many(self, n):
        "Seconds to predict `n` rows in a loop as one writes it by hand, in batches of 4096"
        train = self.learn.dls.train_ds
        idx = torch.randint(len(train), (n,))
        xs = [t[idx] for t in (train.cats.long(), train.conts)]
        self.learn.model.eval()
        def walk():
            with torch.no_grad(): return torch.cat([self.learn.model(*o).softmax(1) for o in zip(*(t.split(4096) for t in xs))])
        return timed(walk)[0]


class Prepare(PrepareTask):
    def prepare(self): TabularPandas(self.df, [Categorify, FillMissing, Normalize], self.cats, self.conts, 'y', splits=self.splits)


class PlainPrepare(PrepareTask):
    "What the result needs, in plain pandas"
    def prepare(self):
        train,cols = self.splits[0],{}
        for n in self.cats:
            found = self.df[n].iloc[train].dropna().unique()
            cols[n] = pd.Categorical(self.df[n], categories=sorted(found)).codes + 1
        for n in self.conts:
            x,known = self.df[n],self.df[n].iloc[train]
            if known.isna().any():
                cols[f'{n}_na'] = x.isna().to_numpy().astype('int8') + 1
                x,known = x.fillna(known.median()),known.fillna(known.median())
            cols[n] = ((x-known.mean())/known.std()).astype('float32')
        return pd.DataFrame({**cols, 'y': self.df['y'].astype('float32')})


class Reviews(ReviewsTask):
    lib,quiet = lib,staticmethod(quiet)
    def learner(self, config): return language_model_learner(self.dls, AWD_LSTM, config, metrics=[])

    def alone(self):
        "Seconds of an epoch of the same model in a plain loop over batches that are there, with the same penalties for activations"
        if not hasattr(self, 'bare'): self.bare = copy.deepcopy(self.learn.model),*map(list, self.dls)
        model,train,valid = self.bare
        opt = self.learn.opt_func(list(model.parameters()), lr=2e-3)
        return timed(lambda: self._plain(model, opt, train, valid))[0]

    def _plain(self, model, opt, train, valid):
        encoder,decoder,loss_func,state = model[0],model[1],nn.CrossEntropyLoss(),None
        model.train()
        for x,y in train:
            read,state = encoder(x, state)
            state = tuple(tuple(o.detach() for o in layer) for layer in state)
            given = decoder.output_dp(read)
            loss = loss_func(decoder.decoder(given).flatten(0, 1), y.flatten())
            (loss+2*given.pow(2).mean()+read.diff(dim=1).pow(2).mean()).backward()
            opt.step()
            opt.zero_grad()
        model.eval()
        state = None
        with torch.no_grad():
            for x,y in valid:
                read,state = encoder(x, state)
                loss_func(decoder(read).flatten(0, 1), y.flatten())


if __name__=='__main__': serve(tasks_in(globals()))
