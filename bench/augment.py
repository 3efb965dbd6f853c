"""Milliseconds to augment one batch of bytes on a CPU, alone and with masks or points: ours, fastai, and torchvision's v2 transforms

    python bench/augment.py [--kinds flip aug_transforms masks points] [--bs 64] [--sizes 128 224] [--threads 1 2] [--repeats 9] [--no-fastai]

Flip against Flip and RandomHorizontalFlip; `aug_transforms()` against fastai's, and RandomHorizontalFlip, RandomAffine, RandomPerspective
and ColorJitter of the same strengths. Ours and fastai's draw for each picture of the batch. Of torchvision, `once` is what it does when
it is given a batch, one draw for all of its pictures; `each` gives it the pictures one by one, which is the same augmentation as ours.
`masks` and `points` are `aug_transforms()` of pictures with a mask of codes, or 68 points, each. The second table has the CPU time that all threads
took. Aimed at: at most half of fastai's.
"""
import argparse, functools

import torch
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, KeyPoints, Mask

from common import close, fastai_argument, in_turn, middle, ratio, said, sides, table
from tasks import augmented, timed

kinds = dict(flip='flip', aug_transforms='aug_transforms()', masks='with masks', points='with points')


def torchvision():
    "torchvision's transforms for the two rows of the table"
    to_float = v2.ToDtype(torch.float32, scale=True)
    flip = v2.RandomHorizontalFlip(0.5)
    moves = [v2.RandomApply([v2.RandomAffine(degrees=10, scale=(1., 1.1), interpolation=v2.InterpolationMode.BILINEAR)], p=0.75),
             v2.RandomPerspective(distortion_scale=0.2, p=0.75, interpolation=v2.InterpolationMode.BILINEAR)]
    light = v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.75)
    both = v2.Compose([flip, to_float, *moves, light])
    return dict(flip=v2.Compose([flip, to_float]), aug_transforms=both, masks=both, points=both)


def slots(kind, bs, size):
    "The batch as torchvision's types"
    x,*y = augmented(kind, bs, size)
    if kind=='points': y = [KeyPoints((y[0]+1)*size/2, canvas_size=(size, size))]
    return Image(x),*map(Mask if kind=='masks' else lambda o: o, y)


def compare(kind, size, threads, args):
    "Wall and CPU seconds of ours, ours with channels last, and the others, each a list"
    torch.set_num_threads(threads)
    other,xs = torchvision()[kind],slots(kind, args.bs, size)
    def each(): return [torch.stack(o) for o in zip(*(other(*o) if len(xs)>1 else (other(*o),) for o in zip(*map(items, xs))))]
    made = sides('Augment', not args.no_fastai, kind=kind, bs=args.bs, size=size, threads=threads)
    tasks = {'ours': functools.partial(made['ours'], 'once'), 'last': functools.partial(made['ours'], 'once', last=True),
             **{k: functools.partial(v, 'once') for k,v in made.items() if k!='ours'}, 'once': lambda: timed(lambda: other(*xs)), 'each': lambda: timed(each)}
    for f in tasks.values(): f()
    res = in_turn(tasks, args.repeats)
    close(made)
    return [{k: [o[i] for o in v] for k,v in res.items()} for i in (0, 1)]


def items(x):
    "The rows of a batch, each of its type"
    if isinstance(x, KeyPoints): return [KeyPoints(o, canvas_size=x.canvas_size) for o in x]
    return [type(x)(o) for o in x]


def row(kind, size, threads, res):
    cells = [f"{middle(res[k], 1e3, 1)} {ratio(res[k], res['ours'])}" if k in res else '' for k in ('last', 'fastai', 'once', 'each')]
    return [kinds[kind], size, threads, middle(res['ours'], 1e3, 1), *cells]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--kinds', nargs='+', default=list(kinds), choices=list(kinds))
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
    cases = [(kind, size, threads) for kind in args.kinds for size in args.sizes for threads in args.threads]
    found = [compare(*o, args) for o in cases]
    for i,title in enumerate(('wall time', 'CPU time')):
        table([title, 'size', 'threads', 'ours', 'channels last', 'fastai', 'v2, once', 'v2, each'], [row(*o, res[i]) for o,res in zip(cases, found)])


if __name__=='__main__': main()
