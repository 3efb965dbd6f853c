"""Pictures a second from a folder of JPEGs to batches, ours against PyTorch's DataLoader with torchvision

    python bench/pipeline.py [--n 400] [--epochs 3] [--bs 32] [--threads 1]

The folder is made by the script: 500 x 375 pixels, smooth colours with noise, about as large as photos are. Both sides decode,
crop, flip and stack to 224 x 224, and make floats from 0 to 1. The first epoch of ours decodes; later ones find what
is decoded in the cache. PyTorch's side has no cache, so its epochs are alike; with workers, its first one starts the processes.
PyTorch's own threads, inside one operation, are switched off on both sides: where other programs run, they wait for one another.
"""
import argparse, os, tempfile, time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from mylib.vision.data import ImageDataLoaders
from mylib.vision.transform import FlipItem, RandomResizedCrop, Resize


def make_photos(path, n, size=(500, 375)):
    "`n` JPEGs in two folders: large shapes, small shapes and noise"
    rng = np.random.default_rng(0)
    for i in range(n):
        layers = [np.asarray(Image.fromarray(rng.integers(0, 256, (h,w,3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
                  for w,h in ((5,4), (40,30), (250,190))]
        im = 0.6*layers[0] + 0.25*layers[1] + 0.15*layers[2]
        folder = path/('even' if i%2==0 else 'odd')
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(im.clip(0, 255).astype(np.uint8)).save(folder/f'{i:04d}.jpg', quality=90)


def n_pictures(batches): return sum(len(o[0]) for o in batches)


def epochs(dl, n):
    "Pictures a second in each of `n` epochs"
    res = []
    for _ in range(n):
        began = time.perf_counter()
        seen = n_pictures(dl)
        res.append(seen/(time.perf_counter()-began))
    return res


ours_tfms = dict(random=[RandomResizedCrop(224, min_scale=0.35), FlipItem()], resize=[Resize(224)])
theirs_tfms = dict(random=[transforms.RandomResizedCrop(224, scale=(0.35, 1.)), transforms.RandomHorizontalFlip()], resize=[transforms.Resize(224), transforms.CenterCrop(224)])


def ours(path, kind, bs, **kwargs):
    return ImageDataLoaders.from_folder(path, valid_pct=0.01, seed=1, bs=bs, item_tfms=ours_tfms[kind], device='cpu', **kwargs).train


def theirs(path, kind, bs, workers):
    ds = datasets.ImageFolder(path, transforms.Compose([*theirs_tfms[kind], transforms.ToTensor()]))
    return DataLoader(ds, bs, shuffle=True, num_workers=workers, persistent_workers=workers>0)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--n', type=int, default=400, help='pictures')
    p.add_argument('--epochs', type=int, default=3)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--threads', type=int, default=1, help="PyTorch's own threads")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'photos'
        make_photos(path, args.n)
        size = sum(o.stat().st_size for o in path.rglob('*.jpg'))/args.n
        n_pictures(theirs(path, 'resize', args.bs, 0)) # the files are in memory from here on
        print(f"{args.n} JPEGs of 500 x 375, {size/1e3:.0f} kB each; {os.cpu_count()} cores; pictures a second, and how many times the first row\n")
        for kind,what in (('random', 'RandomResizedCrop(224) and flip'), ('resize', 'Resize(224)')):
            rows = {'torch, 2 workers': theirs(path, kind, args.bs, 2), 'torch, 0 workers': theirs(path, kind, args.bs, 0), 'ours, no cache': ours(path, kind, args.bs, cache=False),
                    'ours, 0 threads': ours(path, kind, args.bs, num_workers=0), 'ours': ours(path, kind, args.bs)}
            print(f"{what:34} {'first epoch':>16} {'later epochs':>16}")
            base = None
            for name,dl in rows.items():
                first,*later = epochs(dl, args.epochs)
                cells = first,max(later, default=first)
                base = base or cells
                print(f"  {name:32} " + ' '.join(f'{c:8.0f} ({c/b:4.1f}x)' for c,b in zip(cells, base)))
            print()


if __name__=='__main__': main()
