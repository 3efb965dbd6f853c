"""fastai's side of the benchmarks, run in an environment that has fastai and not our library; see `common.Side`"""
import contextlib, warnings
from importlib.metadata import version
from types import SimpleNamespace

import torch
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.tabular.all import Categorify, FillMissing, TabularDataLoaders, TabularPandas, tabular_learner
from fastai.text.all import AWD_LSTM, TextDataLoaders, awd_lstm_lm_config, language_model_learner
from fastai.vision.all import (CategoryBlock, CrossEntropyLossFlat, DataBlock, DataLoaders, Flip, FlipItem, ImageBlock, ImageDataLoaders, IndexSplitter, IntToFloatTensor,
                               Learner, MaskBlock, MultiCategoryBlock, Normalize, Pipeline as Steps, PILImage, PointBlock, RandomResizedCrop, Resize, TensorImage, TensorMask,
                               TensorPoint, aug_transforms, error_rate, imagenet_stats, unet_learner, vision_learner)
from safetensors.torch import load_file
from torchvision.models import mobilenet_v2

from common import serve
from tasks import GivesBack, JudgedTask, LoopTask, PhotoTask, PipelineTask, PredictTask, PrepareTask, ReviewsTask, RowsTask, Task, adult, augmented, tasks_in, timed

warnings.simplefilter('ignore')
lib = SimpleNamespace(ImageDataLoaders=ImageDataLoaders, PILImage=PILImage, FlipItem=FlipItem, RandomResizedCrop=RandomResizedCrop, Resize=Resize, aug_transforms=aug_transforms,
                      DataBlock=DataBlock, ImageBlock=ImageBlock, MaskBlock=MaskBlock, PointBlock=PointBlock, MultiCategoryBlock=MultiCategoryBlock, CategoryBlock=CategoryBlock,
                      IndexSplitter=IndexSplitter, Normalize=Normalize, imagenet_stats=imagenet_stats, TextDataLoaders=TextDataLoaders)


@contextlib.contextmanager
def quiet(learn):
    with learn.no_bar(), learn.no_logging(): yield


def one_cycle(learn):
    "Wall and CPU seconds of an epoch"
    with quiet(learn): return timed(lambda: learn.fit_one_cycle(1, 1e-3))


def read_weights(file): return {k: v.float() if v.is_floating_point() else v for k,v in load_file(file).items()}


def load_body(learn, weights):
    "Load weights of a whole model of timm into the body"
    left = learn.model[0].model.load_state_dict(read_weights(weights), strict=False)
    assert not left.missing_keys, left.missing_keys
    return learn


class Versions(Task):
    def versions(self): return f"{version('fastai')}, {super().versions()}"


class Batches(list):
    n_inp,device = 1,torch.device('cpu')


class Loop(Versions, LoopTask):
    def fit(self):
        dls = DataLoaders(Batches(self.batches), Batches(self.batches[:1]), device='cpu')
        return one_cycle(Learner(dls, self.model(), loss_func=CrossEntropyLossFlat()))[0]


class Pipeline(Versions, PipelineTask): lib = lib


class Photos(Versions, PhotoTask):
    lib = lib
    def make_learner(self, dls, arch, weights):
        learn = vision_learner(dls, arch, pretrained=False, metrics=error_rate)
        return learn if weights is None else load_body(learn, weights)


class FineTune(Photos):
    def __init__(self, **kwargs): self.prepare(**kwargs)
    def epoch(self): return one_cycle(self.learn)
    def accuracy(self): return 1-self.learn.recorder.values[-1][-1]


class Judged(Versions, JudgedTask):
    lib,quiet = lib,staticmethod(quiet)
    def loader_args(self, _seed): return {}
    def judged_learner(self, dls):
        if self.kind!='masks': return load_body(vision_learner(dls, 'mobilenetv2_100', pretrained=False), f'{self.weights}/mobilenetv2_100.safetensors')
        def encoder(pretrained):
            model = mobilenet_v2()
            model.load_state_dict(read_weights(f'{self.weights}/mobilenet_v2.safetensors'))
            return model
        return unet_learner(dls, encoder, cut=lambda m: m.features[:-1])

    def epoch(self): return one_cycle(self.learn)


class GivenBack(GivesBack, FineTune): pass
class Predict(Photos, PredictTask): pass


class Augment(Versions):
    def __init__(self, kind, bs, size, threads):
        torch.set_num_threads(threads)
        tfms = [IntToFloatTensor(), *([Flip()] if kind=='flip' else aug_transforms())]
        x,*y = augmented(kind, bs, size)
        kinds = dict(masks=TensorMask, points=lambda o: TensorPoint(o, img_size=(size, size)))
        self.steps,self.xs = Steps(tfms, split_idx=0),(TensorImage(x),*map(kinds.get(kind), y))

    def once(self): return timed(lambda: self.steps(self.xs))


class Rows(Versions, RowsTask):
    one_cycle = staticmethod(one_cycle)
    def make_learner(self, kind, df):
        if kind=='ratings': return collab_learner(CollabDataLoaders.from_df(df, seed=1, bs=64, device='cpu'), n_factors=50, y_range=(0, 5.5))
        return tabular_learner(TabularDataLoaders.from_df(df, procs=[Categorify, FillMissing, Normalize], bs=64, device='cpu', **adult), layers=[200, 100])


class Prepare(Versions, PrepareTask):
    def prepare(self):
        splits = [o.tolist() for o in self.splits]
        TabularPandas(self.df, [Categorify, FillMissing, Normalize], self.cats, list(self.conts), 'y', splits=splits)


class Reviews(Versions, ReviewsTask):
    lib,quiet = lib,staticmethod(quiet)
    def learner(self, config): return language_model_learner(self.dls, AWD_LSTM, config={**awd_lstm_lm_config, **config}, pretrained=False)


if __name__=='__main__': serve(tasks_in(globals()))
