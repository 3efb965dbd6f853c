"With the garbage collector off, `del learn` gives back the model, the loaders and the data set, whatever was done with them"
import gc, weakref

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from mylib.callback.ema import EMA
from mylib.callback.gradient import GradientAccumulation, GradientClip
from mylib.callback.keep import EarlyStoppingCallback, SaveModelCallback
from mylib.callback.log import CSVLogger
from mylib.callback.run import Watcher
from mylib.core.core import UsageError
from mylib.core.testing import synth_images
from mylib.deploy.load import load_learner
from mylib.deploy.report import write_report
from mylib.interpret.classification import ClassificationInterpretation
from mylib.learner.learner import Learner
from mylib.vision.augment import aug_transforms
from mylib.vision.data import ImageDataLoaders
from mylib.vision.learner import vision_learner
from mylib.vision.transform import Resize

pytestmark = pytest.mark.usefixtures('no_windows')


@pytest.fixture
def path(tmp_path): return synth_images(tmp_path/'shapes', n_per_class=12)


def net(): return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def learner(path, **kwargs):
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.25, seed=1, bs=6, item_tfms=Resize(32), batch_tfms=aug_transforms(), device='cpu')
    return Learner(dls, net(), path=path.parent, **kwargs)


class Breaks(Watcher):
    def __init__(self, kind): self.kind = kind
    def after_loss(self, run):
        if run.batch==1: raise self.kind('no more')


def fit(learn): learn.fit_one_cycle(2, 1e-2)
def fit_with_callbacks(learn): learn.fit(2, cbs=[EMA(), GradientClip(), GradientAccumulation(2), SaveModelCallback(), EarlyStoppingCallback(), CSVLogger()])
def get_preds(learn): learn.get_preds(with_input=True, with_decoded=True, with_loss=True)
def validate(learn): learn.validate(0)
def lr_find(learn): learn.lr_find(num_it=12)
def show_results(learn): learn.show_results()
def show_batch(learn): learn.dls.show_batch(); learn.dls.show_batch(unique=True, max_n=2)
def summary(learn): learn.summary()
def predict(learn): learn.predict(learn.dls.valid_ds.item(0), with_input=True)
def freeze(learn): learn.freeze_to(0); learn.to_bf16(); learn.validate(); learn.to_fp32()
def save_and_load(learn): learn.fit(1); learn.save('one'); learn.load('one')
def training_loop(learn): learn.show_training_loop()
def half_an_iteration(learn): it = iter(learn.dls.train); next(it)


def interpretation(learn):
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix()
    interp.plot_top_losses(4)
    interp.most_confused()


def report(learn): learn.fit(1); write_report(learn.path/'report.html', learn, n_samples=2)


def interrupted(learn):
    try: learn.fit(1, cbs=Breaks(KeyboardInterrupt))
    except KeyboardInterrupt: pass


def broken(learn):
    try: learn.fit(1, cbs=Breaks(UsageError))
    except UsageError: pass


@pytest.fixture
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


actions = [fit, fit_with_callbacks, get_preds, validate, lr_find, show_results, show_batch, summary, predict, freeze, save_and_load, training_loop,
           half_an_iteration, interpretation, report, interrupted, broken]


@pytest.mark.parametrize('action', actions, ids=lambda o: o.__name__)
def test_learner_is_released(path, action, collector_off, capsys):
    with learner(path).no_bar() as learn: action(learn)
    plt.close('all')
    refs = watched(learn)
    del learn
    assert [k for k,r in refs.items() if r() is not None]==[]


def watched(learn):
    "Weak references to what should die with `learn`"
    things = dict(model=learn.model, weight=next(learn.model.parameters()), dls=learn.dls, train=learn.dls.train, dataset=learn.dls.train.dataset,
                  cache=learn.dls.train.cache, recorder=learn.recorder)
    if learn.opt is not None: things['opt'] = learn.opt
    return {k: weakref.ref(v) for k,v in things.items() if v is not None}


def test_vision_learner_and_what_was_loaded_are_released(path, collector_off, capsys):
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.25, seed=1, bs=6, item_tfms=Resize(32), device='cpu')
    with vision_learner(dls, 'resnet10t', pretrained=False).no_bar() as learn: learn.fit(1)
    file = learn.export()
    refs = watched(learn)
    del learn, dls
    assert [k for k,r in refs.items() if r() is not None]==[]
    learn = load_learner(file)
    learn.predict(path/'circle'/'circle_000.png')
    refs = dict(model=weakref.ref(learn.model), dls=weakref.ref(learn.dls))
    del learn
    assert [k for k,r in refs.items() if r() is not None]==[]


def test_the_data_outlives_a_learner_that_is_replaced(path, collector_off, capsys):
    "In a notebook a cell is run again: only what it replaces goes"
    learn = learner(path)
    dls,model = learn.dls,weakref.ref(learn.model)
    learn = Learner(dls, net())
    assert model() is None and len(dls.one_batch())==2 and learn.model.training
    assert torch.isfinite(dls.one_batch()[0]).all()
