"""Kinds of image tasks on real data: quality after 1 and 3 epochs of `fine_tune`, and seconds an epoch; ours, fastai and the model alone

    python bench/image_tasks.py DATA [--weights FOLDER] [--kinds classes labels points masks] [--seeds 3] [--epochs 1 3] [--n 200] [--scale 1]
        [--repeats 3] [--no-fastai] [--smp FOLDER]

DATA is a folder with what is needed of oxford-iiit-pet (three breeds, classes), coco_tiny (several labels), face_keypoints (68 points) and camvid_tiny (masks), unpacked. All
sides have the same images for training and validation, size, batch size, augmentation, default rates and weights: those of mobilenetv2 in timm's form or torchvision's. For
masks they are the encoder of a U-Net, without the last convolution, to 1,280 channels: with it, fastai's decoder has 77 million parameters. Quality is computed by one function from what `get_preds` gives: accuracy, mean average precision, mean distance in
pixels, or the mean Jaccard index of the classes that occur. `alone` is forward, backward and step of our model on batches that are there, and
validation's forward passes. Aimed at: a quality not worse than fastai's beyond noise, and an epoch of 1.1 times the model alone.
`--smp` is a folder to import segmentation-models-pytorch from; its U-Net is trained in our loop on our batches.
"""
import argparse, functools, os, statistics
from pathlib import Path

from common import Side, close, fastai_side, fastai_argument, find_data, in_turn, middle, ratio, said, table

kinds = dict(classes=('accuracy', 128), labels=('mean average precision', 128), points=('distance, pixels', 96), masks=('mean Jaccard index', 96)) # Measure, and size


def spread(xs): return f'{statistics.mean(xs):.3f} ± {statistics.stdev(xs):.3f}' if len(xs)>1 else f'{xs[0]:.3f}'


def made_sides(kind, args):
    "Name to side"
    kwargs = dict(kind=kind, data=str(args.data), weights=str(args.weights), n=args.n, size=round(kinds[kind][1]*args.scale/32)*32, bs=args.bs if kind!='masks' else 8, workers=args.workers)
    res = dict(ours=Side('ours_side.py', 'Judged', **kwargs))
    if not args.no_fastai: res['fastai'] = fastai_side('Judged', **kwargs)
    if args.smp and kind=='masks':
        os.environ['PYTHONPATH'] = os.pathsep.join([os.environ.get('PYTHONPATH', ''), args.smp])
        res['smp'] = Side('ours_side.py', 'SmpUnet', **kwargs)
    return res


def measure(kind, args):
    "A row for each side: quality after each number of epochs, and times"
    made = made_sides(kind, args)
    said(made)
    found = {k: {n: [v('judge', seed=s, epochs=n) for s in range(args.seeds)] for n in args.epochs} for k,v in made.items()}
    tasks = {k: functools.partial(v, 'epoch') for k,v in made.items()}
    tasks['alone'] = functools.partial(made['ours'], 'alone')
    for f in tasks.values(): f()
    times = {k: [o[0] for o in v] for k,v in in_turn(tasks, args.repeats).items()}
    close(made)
    title = f"{kind}: {kinds[kind][0]}"
    rows = [[k, *(spread(v) for v in found[k].values()), middle(times[k], digits=2), ratio(times[k], times['alone'])] for k in made]
    rows.append(['model alone', *('' for _ in args.epochs), middle(times['alone'], digits=2), ''])
    table([title, *(f"after {n} epoch{'s' if n>1 else ''}" for n in args.epochs), 'seconds an epoch', 'of the model'], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('data', type=Path)
    p.add_argument('--kinds', nargs='+', default=list(kinds), choices=list(kinds))
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--epochs', type=int, nargs='+', default=[1, 3])
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--n', type=int, default=200, help='images for training, at most; half as many for validation')
    p.add_argument('--scale', type=float, default=1., help='multiplies the size of the images, which is rounded to 32 pixels')
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--workers', type=int, default=min(8, os.cpu_count() or 1), help='threads of ours and processes of fastai')
    p.add_argument('--weights', type=Path, default=find_data('weights') or 'weights', help='a folder with mobilenetv2_100.safetensors and mobilenet_v2.safetensors')
    p.add_argument('--smp', help='a folder to import segmentation-models-pytorch from')
    fastai_argument(p)
    args = p.parse_args()
    for kind in args.kinds: measure(kind, args)


if __name__=='__main__': main()
