"""Fine-tuning judged: the error after `fine_tune` over the learning rate, and which rule of `lr_find` comes close to the best rate

python bench/recipe.py DATA [SET ...] [--size 128] [--epochs 3] [--seeds 0 1 2] [--rates 3e-4 1e-3 ...] [--weights FILE] [--norm learner|batch|slow]
python bench/recipe.py --read FILE [FILE ...]

DATA is a folder with the sets below, unpacked. Each fit prints a line of JSON; with `--read`, a table of the lines in files. `head` is the
error after the epoch in which the head alone is trained, `end` that of the last epoch: the share of wrong answers, for several labels
1 - mean average precision, for masks 1 - mean Jaccard, for points the mean distance in shares of half the picture.
"""
import argparse, json, math, time
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from mylib.vision.all import *
from common import table

usual = 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2
rules = minimum, steep, valley, slide


def few(files, label, per_class, seed=0):
    "At most `per_class` files of each class, the same ones each time"
    chosen,rng = [],np.random.default_rng(seed)
    for c in sorted({label(o) for o in files}):
        own = sorted(o for o in files if label(o)==c)
        chosen += [own[i] for i in rng.permutation(len(own))[:per_class]]
    return chosen


def breed(o): return o.name.rpartition('_')[0]
def animal(o): return 'cat' if o.name[0].isupper() else 'dog'


def classes(folder, label, per_class, keep=lambda o: True):
    "Loaders of images with one label each: half of them are for validation"
    def _loaders(data, size, seed):
        files = few([o for o in get_image_files(data/folder) if keep(o)], label, per_class)
        return ImageDataLoaders.from_path_func(data, files, label, valid_pct=0.5, seed=seed, bs=64, item_tfms=Resize(size), batch_tfms=aug_transforms(), cache=True)
    return _loaders, vision_learner, error_rate, lambda v: v


def photos(n_classes, per_class):
    def _first(o): return o.parent.name in sorted(p.name for p in o.parent.parent.iterdir())[:n_classes]
    return classes('imagenette_sample/train', parent_label, per_class, _first)


def several_labels(data, size, seed):
    path = data/'coco_tiny'
    df = pd.read_csv(path/'train.csv')
    return ImageDataLoaders.from_df(df, path/'train', fn_col='fname', label_col='labels', label_delim=' ', valid_pct=0.4, seed=seed, bs=16, item_tfms=Resize(size, method='squish'),
                                    batch_tfms=aug_transforms(), cache=True)


def masks(data, size, seed):
    path = data/'camvid_tiny'
    return SegmentationDataLoaders.from_label_func(path, get_image_files(path/'images'), lambda o: path/'labels'/f'{o.stem}_P{o.suffix}', codes=np.loadtxt(path/'codes.txt', dtype=str),
                                                   valid_pct=0.3, seed=seed, bs=8, item_tfms=Resize((size, size*4//3), method='squish'), batch_tfms=aug_transforms())


def points(data, size, seed):
    "The tip of the nose in 400 faces"
    path = data/'face_keypoints'
    tips = {path/'train'/r.fname: tensor(r.x30, r.y30) for r in pd.read_csv(path/'train.csv').iloc[:400].itertuples()}
    block = DataBlock(blocks=(ImageBlock, PointBlock), splitter=RandomSplitter(0.5, seed=seed), get_y=tips.get, item_tfms=Resize(size, method='squish'), batch_tfms=aug_transforms(do_flip=False))
    return block.dataloaders(list(tips), bs=32, seed=seed, cache=True)


sets = {'three breeds': classes('oxford-iiit-pet/images', breed, 200, lambda o: breed(o) in ('Abyssinian', 'Bengal', 'american_bulldog')),
        'cats and dogs': classes('oxford-iiit-pet/images', animal, 300),
        'three kinds of photos': photos(3, 200), 'ten kinds of photos': photos(10, 80),
        'threes and sevens': classes('mnist_sample/train', parent_label, 300),
        'several labels': (several_labels, vision_learner, accuracy_multi, lambda v: 1-v),
        'masks': (masks, unet_learner, JaccardCoeffMulti(), lambda v: 1-v),
        'points': (points, vision_learner, point_distance, lambda v: v)}


def norm_layers(model): return [m for m in (model.encoder if hasattr(model, 'encoder') else model[0]).modules() if isinstance(m, torch.nn.modules.batchnorm._NormBase)]


def learner(name, args, seed):
    loaders,make,metric,_ = sets[name]
    dls = loaders(args.data, args.size, seed)
    set_seed(seed)
    learn = make(dls, 'mobilenetv2_100', metrics=metric, pretrained=False, weights=args.weights)
    if args.norm!='learner' and any(isinstance(o, KeepStatistics) for o in learn.cbs): learn.remove_cb(KeepStatistics)
    if args.norm=='slow':
        for m in norm_layers(learn.model): m.momentum = 0.01
    return learn


def one(name, args, seed, lr):
    learn,error = learner(name, args, seed),sets[name][3]
    began = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        if args.weights: learn.fine_tune(args.epochs, lr)
        else: learn.fit_one_cycle(args.epochs, lr)
    values = [error(list(r.values())[3]) for r in learn.history]
    return dict(set=name, seed=seed, lr=lr, norm=args.norm, size=args.size, steps=len(learn.dls.train)*args.epochs, head=values[0], end=values[-1], errors=values,
                losses=[r['valid_loss'] for r in learn.history], seconds=time.perf_counter()-began)


def suggestions(name, args, seed):
    found = learner(name, args, seed).lr_find(show_plot=False, suggest_funcs=rules)
    return dict(set=name, seed=seed, norm=args.norm, size=args.size, rules=dict(zip(found.names, map(float, found))))


def between(errors, lr):
    "The error at a rate that was not tried: between those beside it, along the logarithm of the rate; NaN outside of those that were tried"
    known = sorted(errors)
    if not known[0]<=lr<=known[-1]: return math.nan
    return float(np.interp(math.log(lr), [math.log(o) for o in known], [errors[o] for o in known]))


def spread(xs): return f'{mean(xs):.3f} ± {stdev(xs)/len(xs)**0.5:.3f}' if len(xs)>1 else f'{xs[0]:.3f}'


def read(lines):
    "Two tables for each way of normalizing: errors over the rates, and over the rules"
    fits = [o for o in lines if 'lr' in o]
    for norm,size in sorted({(o['norm'], o['size']) for o in fits}):
        mine = [o for o in fits if (o['norm'], o['size'])==(norm, size)]
        rates,names = sorted({o['lr'] for o in mine}),[o for o in sets if any(f['set']==o for f in mine)]
        of = {n: {s: {f['lr']: f for f in mine if f['set']==n and f['seed']==s} for s in sorted({f['seed'] for f in mine if f['set']==n})} for n in names}
        print(f'Error at the end, mean and standard error over seeds; {size} pixels, statistics: {norm}')
        table(['set', 'seeds', *(f'{r:.0e}' for r in rates), 'worse than the head'],
              [[n, len(of[n]), *(spread(es) if (es := [s[r]['end'] for s in of[n].values() if r in s]) else '' for r in rates),
                f"{sum(f['end']>f['head'] for s in of[n].values() for f in s.values())} of {sum(map(len, of[n].values()))}"] for n in names])
        told = {(o['set'], o['seed']): o['rules'] for o in lines if 'rules' in o and (o['norm'], o['size'])==(norm, size)}
        rows = []
        for n in names:
            best = min((r for r in rates), key=lambda r: mean([s[r]['end'] for s in of[n].values() if r in s] or [math.inf]))
            whole = {k: {r: f['end'] for r,f in s.items()} for k,s in of[n].items() if (n, k) in told and best in s}
            if not whole: continue
            rows.append([n, f'{best:.0e}', spread([o[best] for o in whole.values()]), spread([between(o, 2e-3) for o in whole.values()]),
                         *(spread([between(o, told[n, k][rule.__name__]) for k,o in whole.items()])+f' ({min(told[n, k][rule.__name__] for k in whole):.0e}-{max(told[n, k][rule.__name__] for k in whole):.0e})'
                           for rule in rules)])
        table(['set', 'best rate', 'its error', '2e-3', *(r.__name__ for r in rules)], rows)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('data', type=Path, nargs='?')
    p.add_argument('sets', nargs='*')
    p.add_argument('--size', type=int, default=128)
    p.add_argument('--epochs', type=int, default=3)
    p.add_argument('--seeds', type=int, nargs='*', default=[0, 1, 2])
    p.add_argument('--rates', type=float, nargs='*', default=usual)
    p.add_argument('--weights', default=None, help='without it, from nothing')
    p.add_argument('--norm', default='learner', choices=['learner', 'batch', 'slow'], help='statistics of normalization in training: as the learner decides, those of each batch, or so and updated slowly')
    p.add_argument('--read', type=Path, nargs='*')
    args = p.parse_args()
    if args.read: return read([json.loads(line) for f in args.read for line in f.read_text().splitlines() if line.startswith('{')])
    for seed in args.seeds:
        for name in args.sets or sets:
            print(json.dumps(suggestions(name, args, seed)), flush=True)
            for lr in args.rates: print(json.dumps(one(name, args, seed, lr)), flush=True)


if __name__=='__main__': main()
