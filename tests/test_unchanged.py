"Looking changes nothing: weights, buffers, modes, gradients, optimizer, random streams, the next batches, what callbacks remember and files are the same to the bit"
import random
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from mylib.callback.checkpoint import Checkpoint
from mylib.callback.ema import EMA
from mylib.callback.keep import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from mylib.callback.log import CSVLogger
from mylib.callback.mixup import MixUp
from mylib.core.testing import synth_images
from mylib.data.loaders import DataLoaders
from mylib.deploy.report import write_report
from mylib.interpret.classification import ClassificationInterpretation
from mylib.interpret.interpretation import Interpretation
from mylib.learner.learner import Learner
from mylib.nn.blocks import small_resnet
from mylib.vision.augment import aug_transforms
from mylib.vision.data import ImageDataLoaders
from mylib.vision.learner import vision_learner
from mylib.vision.transform import Resize

pytestmark = pytest.mark.usefixtures('no_windows')


def shuffling(xs):
    "A step of a user's that draws from every global stream"
    random.random(); np.random.rand(); torch.rand(1)
    return xs


@pytest.fixture(scope='module')
def learn(tmp_path_factory):
    "In the middle of its life: a fit is behind it, one layer is frozen, one is in evaluation mode, gradients are left over"
    path = synth_images(tmp_path_factory.mktemp('data')/'shapes', n_per_class=12)
    torch.manual_seed(0)
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.25, seed=1, bs=6, item_tfms=[Resize(40), shuffling], batch_tfms=aug_transforms(size=32), device='cpu')
    cbs = [EMA(0.9), MixUp(), SaveModelCallback(every_epoch=True), EarlyStoppingCallback(patience=9), ReduceLROnPlateau(patience=9), CSVLogger(append=True), Checkpoint()]
    learn = vision_learner(dls, 'resnet10t', pretrained=False, lin_ftrs=[8], cbs=cbs)
    learn.bar,learn.path = False,path.parent
    learn.fit(1)
    next(m for m in learn.model.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    for p in list(learn.model.parameters())[:3]: p.requires_grad_(False)
    learn.loss_func(learn.model(dls.one_batch()[0]), dls.one_batch()[1]).backward()
    return learn


def bits(x):
    "`x` as something that can be compared with =="
    if isinstance(x, torch.Tensor): return str(x.dtype),tuple(x.shape),x.detach().cpu().numpy().tobytes()
    if isinstance(x, np.ndarray): return x.tobytes()
    if isinstance(x, dict): return {str(k): bits(v) for k,v in x.items()}
    if isinstance(x, (list, tuple)): return [bits(o) for o in x]
    return x


written = 'export.pkl', 'one.pth', 'report.html' # by `export`, `save` and the report


def fingerprint(learn):
    model,opt = learn.model,learn.opt
    return dict(state=bits(model.state_dict()), same_tensors=[id(p) for p in model.parameters()], modes=[m.training for m in model.modules()],
                learns=[p.requires_grad for p in model.parameters()], grads=bits([p.grad for p in model.parameters()]), same_opt=id(opt), opt=bits(opt.state_dict()),
                python=random.getstate(), numpy=bits(np.random.get_state()), torch=bits(torch.get_rng_state()), grad_mode=torch.is_grad_enabled(),
                epochs=[dl.epoch for dl in learn.dls], orders=[dl.order(dl.epoch) for dl in learn.dls], batches=[bits(list(islice(dl.batches(), 2))) for dl in learn.dls],
                callbacks=[bits(o.state_dict()) for o in (learn.recorder, *learn.cbs) if hasattr(o, 'state_dict') and not isinstance(o, EMA)],
                files={str(o): o.stat().st_mtime_ns for o in learn.path.rglob('*') if o.is_file() and o.name not in written}, seeds=[dl.seed for dl in learn.dls], history=list(learn.history), same_recorder=id(learn.recorder),
                hooks=sum(len(m._forward_hooks)+len(m._forward_pre_hooks) for m in model.modules()), threads=torch.get_num_threads())


def interpretation(learn):
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_top_losses(4)
    interp.plot_confusion_matrix()
    interp.print_classification_report()


looks = dict(
    show_batch=lambda learn: learn.dls.show_batch(),
    show_batch_unique=lambda learn: learn.dls.show_batch(unique=True, max_n=3),
    show_batch_valid=lambda learn: learn.dls.valid.few(3),
    one_batch=lambda learn: learn.dls.one_batch(),
    summary=lambda learn: learn.summary(),
    training_loop=lambda learn: learn.show_training_loop(),
    lr_find=lambda learn: learn.lr_find(num_it=12),
    validate=lambda learn: learn.validate(),
    validate_train=lambda learn: learn.validate(0),
    predict=lambda learn: learn.predict(learn.dls.valid_ds.item(0), with_input=True),
    get_preds=lambda learn: learn.get_preds(with_input=True, with_decoded=True, with_loss=True),
    get_preds_train=lambda learn: learn.get_preds(0),
    test_dl=lambda learn: learn.get_preds(dl=learn.dls.test_dl([learn.dls.valid_ds.item(0)])),
    show_results=lambda learn: learn.show_results(),
    show_results_train=lambda learn: learn.show_results(0),
    interpretation=interpretation,
    interpretation_train=lambda learn: Interpretation.from_learner(learn, ds_idx=0).plot_top_losses(4),
    export=lambda learn: learn.export(parts=dict(shuffling=shuffling)),
    save=lambda learn: learn.save('one'),
    plots=lambda learn: (learn.recorder.plot_loss(), learn.recorder.plot_sched()),
    report=lambda learn: write_report(learn.path/'report.html', learn, n_samples=2),
)


@pytest.mark.parametrize('look', looks)
def test_looking_changes_nothing(learn, look, capsys):
    random.seed(3); np.random.seed(3); torch.manual_seed(3)
    before = fingerprint(learn)
    looks[look](learn)
    after = fingerprint(learn)
    assert [k for k in before if before[k]!=after[k]]==[]


def test_an_error_changes_nothing(learn, capsys):
    "An interruption in the middle of looking leaves all as it was, too"
    class Stop(Exception): pass
    def stop(*_args): raise Stop
    for name,do in looks.items():
        if name in ('export', 'save', 'plots', 'training_loop', 'one_batch', 'show_batch', 'show_batch_unique', 'show_batch_valid'): continue
        before = fingerprint(learn)
        handle = learn.model[1].register_forward_hook(stop)
        try: do(learn)
        except Stop: pass
        finally: handle.remove()
        after = fingerprint(learn)
        assert [name, *[k for k in before if before[k]!=after[k]]]==[name]


def test_a_fit_goes_on_as_if_nobody_had_looked(tmp_path, capsys):
    "With all the looking in between, a fit gives the same weights to the bit"
    path = synth_images(tmp_path/'shapes', n_per_class=12)

    def trained(looking):
        torch.manual_seed(0)
        dls = ImageDataLoaders.from_folder(path, valid_pct=0.25, seed=1, bs=6, item_tfms=Resize(32), batch_tfms=aug_transforms(), device='cpu')
        learn = vision_learner(dls, 'resnet10t', pretrained=False, lin_ftrs=[8])
        learn.bar,learn.path = False,tmp_path
        learn.fit(1)
        for look in looking: looks[look](learn)
        learn.fit(1)
        return bits(learn.model.state_dict())

    assert trained(['show_batch', 'lr_find', 'validate', 'get_preds', 'show_results', 'interpretation', 'export', 'report'])==trained([])


def test_nothing_changes_with_loaders_of_pytorch(capsys):
    "Their order and their workers' seeds come from PyTorch's global stream"
    torch.manual_seed(0)
    samples = list(zip(torch.randn(40, 3, 8, 8), torch.arange(40)%2))
    train,valid = torch.utils.data.DataLoader(samples, 8, shuffle=True), torch.utils.data.DataLoader(samples, 8, shuffle=True)
    learn = Learner(DataLoaders(train, valid), nn.Sequential(small_resnet(n_in=3, n_out=4), nn.Dropout(), nn.Linear(4, 2)), loss_func=nn.CrossEntropyLoss(), metrics=[])
    learn.bar = False
    learn.fit(1)

    def print_of(learn):
        return dict(state=bits(learn.model.state_dict()), opt=bits(learn.opt.state_dict()), grads=bits([p.grad for p in learn.model.parameters()]),
                    modes=[m.training for m in learn.model.modules()], python=random.getstate(), numpy=bits(np.random.get_state()), torch=bits(torch.get_rng_state()))

    for look in (lambda: learn.lr_find(num_it=12), learn.validate, lambda: learn.validate(0), learn.get_preds, learn.summary):
        before = print_of(learn)
        look()
        after = print_of(learn)
        assert [k for k in before if before[k]!=after[k]]==[]
