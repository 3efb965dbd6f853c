"""Fine-tuning judged: the error after `fine_tune` over the learning rate, and which rule of `lr_find` comes close to the best rate

python bench/recipe.py DATA [SET ...] [--size 128] [--epochs 3] [--seeds 3] [--rates 3e-4 1e-3 ...] [--weights FILE] [--norm keep|freeze|slow]

DATA is a folder with the sets below, unpacked. Each fit prints a line of JSON; a table of all sets follows. `head` is the result of the
epoch in which the head alone is trained, `end` that of the last epoch, as 1 - accuracy or as the set's own error.
"""
import argparse, json, sys, time
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

from mylib.vision.all import *
from common import table

usual = 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2


def few(files, label, per_class, seed=0):
    "At most `per_class` files of each class, the same ones each time"
    chosen,rng = [],np.random.default_rng(seed)
    for c in sorted({label(o) for o in files}):
        own = sorted(o for o in files if label(o)==c)
        chosen += [own[i] for i in rng.permutation(len(own))[:per_class]]
    return chosen


def breeds(data, kinds=('Abyssinian', 'Bengal', 'american_bulldog'), per_class=150):
    def label(o): return o.name.rpartition('_')[0]
    return few([o for o in get_image_files(data/'oxford-iiit-pet'/'images') if label(o) in kinds], label, per_class), label


def cats(data):
    def label(o): return 'cat' if o.name[0].isupper() else 'dog'
    return few(list(get_image_files(data/'oxford-iiit-pet'/'images')), label, 300), label


def photos(data, n_classes, per_class):
    folders = sorted(o.name for o in (data/'imagenette_sample'/'train').iterdir())[:n_classes]
    files = [o for o in get_image_files(data/'imagenette_sample'/'train') if o.parent.name in folders]
    return few(files, parent_label, per_class), parent_label


sets = {'three breeds': breeds, 'cats and dogs': cats, 'three kinds of photos': lambda d: photos(d, 3, 150),
        'ten kinds of photos': lambda d: photos(d, 10, 120),
        'threes and sevens': lambda d: (few(list(get_image_files(d/'mnist_sample'/'train')), parent_label, 400), parent_label)}


def norm_layers(model): return [m for m in model[0].modules() if isinstance(m, torch.nn.modules.batchnorm._NormBase)]


class KeepStatistics(Watcher):
    "Normalization layers of the body use and keep the statistics that they came with"
    def before_batch(self, run):
        if run.training:
            for m in norm_layers(run.model): m.eval()


def learner(name, data, args, seed):
    files,label = sets[name](data)
    dls = ImageDataLoaders.from_path_func(data, files, label, valid_pct=0.25, seed=seed, bs=64, item_tfms=Resize(args.size), batch_tfms=aug_transforms())
    set_seed(seed)
    weights = None if args.scratch else args.weights
    learn = vision_learner(dls, 'mobilenetv2_100', metrics=error_rate, pretrained=False, weights=weights)
    if args.norm=='freeze': learn.add_cb(KeepStatistics())
    if args.norm=='slow':
        for m in norm_layers(learn.model): m.momentum = 0.01
    return learn


def one(name, data, args, seed, lr):
    learn = learner(name, data, args, seed)
    began = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        if args.scratch: learn.fit_one_cycle(args.epochs, lr)
        else: learn.fine_tune(args.epochs, lr)
    errors = [r['error_rate'] for r in learn.history]
    losses = [r['valid_loss'] for r in learn.history]
    return dict(set=name, seed=seed, lr=lr, norm=args.norm, head=errors[0], end=errors[-1], errors=errors, losses=losses, seconds=time.perf_counter()-began)


def suggestions(name, data, args, seed):
    learn = learner(name, data, args, seed)
    found = learn.lr_find(show_plot=False, suggest_funcs=(minimum, steep, valley, slide))
    return dict(set=name, seed=seed, norm=args.norm, rules={n: float(getattr(found, n)) for n in ('minimum', 'steep', 'valley', 'slide')})


def main():
    p = argparse.ArgumentParser()
    p.add_argument('data', type=Path)
    p.add_argument('sets', nargs='*')
    p.add_argument('--size', type=int, default=128)
    p.add_argument('--epochs', type=int, default=3)
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--rates', type=float, nargs='*', default=usual)
    p.add_argument('--weights', default=None)
    p.add_argument('--scratch', action='store_true')
    p.add_argument('--norm', default='keep', choices=['keep', 'freeze', 'slow'])
    args = p.parse_args()
    for name in args.sets or sets:
        for seed in range(args.seeds):
            print(json.dumps(suggestions(name, args.data, args, seed)), flush=True)
            for lr in args.rates: print(json.dumps(one(name, args.data, args, seed, lr)), flush=True)


if __name__=='__main__': main()
