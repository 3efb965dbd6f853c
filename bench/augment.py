"""Milliseconds to augment one batch of bytes on a CPU: ours, fastai, and torchvision's v2 transforms

    python bench/augment.py [--bs 64] [--sizes 128 224] [--threads 1 2] [--repeats 9] [--no-fastai]

Flip against Flip and RandomHorizontalFlip; `aug_transforms()` against fastai's, and RandomHorizontalFlip, RandomAffine, RandomPerspective
and ColorJitter of the same strengths. Ours and fastai's draw for each picture of the batch. Of torchvision, `once` is what it does when
it is given a batch, one draw for all of its pictures; `each` gives it the pictures one by one, which is the same augmentation as ours.
"""
import argparse, functools

import torch
from torchvision.transforms import v2

from mylib.data.transform import transform_slots
from mylib.vision.augment import aug_transforms
from mylib.vision.image import TensorImage
from mylib.vision.shorthand import Flip

from common import close, fastai_argument, fastai_side, in_turn, middle, ratio, said, seconds, sides, table


def torchvision():
    "torchvision's transforms for the two rows of the table"
    to_float = v2.ToDtype(torch.float32, scale=True)
    flip = v2.RandomHorizontalFlip(0.5)
    moves = [v2.RandomApply([v2.RandomAffine(degrees=10, scale=(1., 1.1), interpolation=v2.InterpolationMode.BILINEAR)], p=0.75),
             v2.RandomPerspective(distortion_scale=0.2, p=0.75, interpolation=v2.InterpolationMode.BILINEAR)]
    light = v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.75)
    return dict(flip=v2.Compose([flip, to_float]), aug_transforms=v2.Compose([flip, to_float, *moves, light]))


def compare(kind, size, threads, args):
    "One row: ours, ours with channels last, and the others"
    torch.set_num_threads(threads)
    gen,other = torch.Generator().manual_seed(0), torchvision()[kind]
    x = TensorImage(torch.randint(256, (args.bs, 3, size, size), dtype=torch.uint8, generator=gen))
    last,tfm = TensorImage(x.contiguous(memory_format=torch.channels_last)), dict(flip=Flip(), aug_transforms=aug_transforms()[0])[kind]
    rivals = {} if args.no_fastai else {'fastai': fastai_side('Augment', kind=kind, bs=args.bs, size=size, threads=threads)}
    tasks = {'ours': lambda: seconds(lambda: transform_slots(tfm, (x,), gen, training=True)), 'last': lambda: seconds(lambda: transform_slots(tfm, (last,), gen, training=True)),
             **{k: functools.partial(v, 'once') for k,v in rivals.items()},
             'once': lambda: seconds(lambda: other(x)), 'each': lambda: seconds(lambda: torch.stack([other(o) for o in x]))}
    for f in tasks.values(): f()
    res = in_turn(tasks, args.repeats)
    close(rivals)
    cells = [f"{middle(res[k], 1e3, 1)} {ratio(res[k], res['ours'])}" if k in res else '' for k in ('last', 'fastai', 'once', 'each')]
    return [kind, size, threads, middle(res['ours'], 1e3, 1), *cells]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--bs', type=int, default=64, help='pictures of a batch')
    p.add_argument('--sizes', type=int, nargs='+', default=[128, 224])
    p.add_argument('--threads', type=int, nargs='+', default=[1, 2], help="PyTorch's own threads")
    p.add_argument('--repeats', type=int, default=9)
    fastai_argument(p)
    args = p.parse_args()
    some = sides('Augment', not args.no_fastai, kind='flip', bs=1, size=8, threads=1)
    said(some)
    close(some)
    print(f"{args.bs} pictures of 3 x size x size; milliseconds, median of {args.repeats} (middle half), and how many times as long as ours;")
    print("`channels last` is ours as decoded pictures lie in memory\n")
    rows = [compare(kind, size, threads, args) for kind in ('flip', 'aug_transforms') for size in args.sizes for threads in args.threads]
    table(['', 'size', 'threads', 'ours', 'channels last', 'fastai', 'v2, once', 'v2, each'], rows)


if __name__=='__main__': main()
