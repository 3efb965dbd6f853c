"""Milliseconds to augment one batch of bytes on a CPU, ours against torchvision's v2 transforms

    python bench/augment.py [--bs 64] [--threads 1 2] [--repeats 9]

Flip against RandomHorizontalFlip, and `aug_transforms()` against RandomHorizontalFlip, RandomAffine, RandomPerspective and
ColorJitter, of the same strengths. Ours draws for each picture of the batch; `once` is what torchvision does when it is given a
batch, one draw for all of its pictures; `each` gives it the pictures one by one, which is the same augmentation as ours.
The median of some repeats is shown (torchvision's `once` may draw nothing at all), and how many times as long as ours the others take.
"""
import argparse, statistics, time

import torch
from torchvision.transforms import v2

from mylib.data.transform import transform_slots
from mylib.vision.augment import Flip, aug_transforms
from mylib.vision.image import TensorImage


def median_ms(f, repeats):
    f()
    res = []
    for _ in range(repeats):
        began = time.perf_counter()
        f()
        res.append(time.perf_counter()-began)
    return 1e3*statistics.median(res)


def theirs():
    "torchvision's transforms for the two rows of the table"
    to_float = v2.ToDtype(torch.float32, scale=True)
    flip = v2.RandomHorizontalFlip(0.5)
    moves = [v2.RandomApply([v2.RandomAffine(degrees=10, scale=(1., 1.1), interpolation=v2.InterpolationMode.BILINEAR)], p=0.75),
             v2.RandomPerspective(distortion_scale=0.2, p=0.75, interpolation=v2.InterpolationMode.BILINEAR)]
    light = v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.75)
    return dict(flip=v2.Compose([flip, to_float]), aug_transforms=v2.Compose([flip, to_float, *moves, light]))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--bs', type=int, default=64, help='pictures of a batch')
    p.add_argument('--sizes', type=int, nargs='+', default=[128, 224])
    p.add_argument('--threads', type=int, nargs='+', default=[1, 2], help="PyTorch's own threads")
    p.add_argument('--repeats', type=int, default=9)
    args = p.parse_args()
    ours,others = dict(flip=Flip(), aug_transforms=aug_transforms()[0]), theirs()
    gen = torch.Generator().manual_seed(0)
    print(f"{args.bs} pictures of 3 x size x size; milliseconds, and how many times as long as ours\n")
    print(f"{'':16} {'size':>5} {'threads':>8} {'ours':>8} {'last':>14} {'v2, once':>16} {'v2, each':>16}")
    for size in args.sizes:
        x = TensorImage(torch.randint(256, (args.bs, 3, size, size), dtype=torch.uint8, generator=gen))
        last = TensorImage(x.contiguous(memory_format=torch.channels_last))
        for threads in args.threads:
            torch.set_num_threads(threads)
            for name,tfm in ours.items():
                other = others[name]
                runs = [lambda x=x, tfm=tfm: transform_slots(tfm, (x,), gen, training=True),
                        lambda x=last, tfm=tfm: transform_slots(tfm, (x,), gen, training=True),
                        lambda x=x, other=other: other(x), lambda x=x, other=other: torch.stack([other(o) for o in x])]
                base,*rest = (median_ms(f, args.repeats) for f in runs)
                print(f"{name:16} {size:5} {threads:8} {base:8.1f} " + ' '.join(f'{o:8.1f} ({o/base:4.1f}x)' for o in rest))
    print("\n`last`: ours with channels last, as decoded pictures lie in memory")


if __name__=='__main__': main()
