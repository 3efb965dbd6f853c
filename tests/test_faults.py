"""Three faults of a training loop that show nothing but numbers: each is planted, and a check must fail.

A metric that is not reset between epochs, an epoch without a batch, and a validation in training mode all end in a
table that looks like any other. `check` computes the same numbers independently; it must pass on the loop as it is,
and fail with each fault in it.
"""
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mylib.callback import run as run_module
from mylib.callback.record import Recorder
from mylib.callback.run import Run, Watcher
from mylib.core.testing import synth_line
from mylib.data.contract import Foreign
from mylib.data.loaders import DataLoaders
from mylib.train.metrics import mae


class Snapshots(Watcher):
    "Keeps the model as it is after each epoch"
    def __init__(self): self.models = []
    def after_epoch(self, run): self.models.append(copy.deepcopy(run.model))


def check():
    "Train for three epochs, and compare each number of the table with one that is computed without the library"
    x,y = synth_line(64)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    dls = DataLoaders([(x[i:i+16], y[i:i+16]) for i in range(0, 64, 16)], [(x[:40], y[:40]), (x[40:], y[40:])])
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    run = Run(model, dls, F.mse_loss, opt, callbacks=[Recorder([mae]), seen := Snapshots()], n_epoch=3)
    run.fit()
    assert run.step==3*4
    for row,after in zip(run.history, seen.models):
        with torch.no_grad(): pred = after.eval()(x)
        assert row['valid_loss']==pytest.approx(F.mse_loss(pred, y).item(), rel=1e-4)
        assert row['mae']==pytest.approx((pred-y).abs().mean().item(), rel=1e-4)


def test_the_numbers_are_right(): check()


def test_a_metric_that_is_not_reset(monkeypatch):
    "From the second epoch on it would be the mean over all epochs so far"
    reset = Recorder.before_valid
    def once(self, run):
        if run.epoch==0: reset(self, run)
    monkeypatch.setattr(Recorder, 'before_valid', once)
    with pytest.raises(AssertionError): check()


def test_an_epoch_without_a_batch(monkeypatch):
    "Nothing would be trained, and the table would repeat itself"
    batches = Foreign.batches
    def first_only(self, epoch=None, start=0):
        if len(self)==4 and self.epoch>0: return iter(())
        return batches(self, epoch, start)
    monkeypatch.setattr(Foreign, 'batches', first_only)
    with pytest.raises(ValueError, match='gave no batch'): check()


def test_validation_in_training_mode(monkeypatch):
    "Dropout would be active, and the statistics of the validation set would move those of the model"
    set_mode = run_module.set_mode
    monkeypatch.setattr(run_module, 'set_mode', lambda model, training: set_mode(model, True))
    with pytest.raises(AssertionError): check()
