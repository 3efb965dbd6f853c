"""Pictures a second from a folder of JPEGs to batches: ours, fastai, and PyTorch's DataLoader with torchvision

    python bench/pipeline.py [--sizes 500x375 1600x1200] [--repeats 5] [--no-fastai]

The folders are made by the script: shapes and noise, files about as large as those of photos. All sides decode, crop, flip and stack to
224 x 224 and make floats from 0 to 1, with as many threads (ours) or processes (the others). The first epoch of ours decodes; later
ones find what is decoded in the cache. The others have no cache, so their epochs are alike. `decoder` is what no first epoch can beat:
PIL decoding each file at the scale that ours needs, on as many threads, and nothing else.
PyTorch's own threads, inside one operation, are switched off on all sides: where other programs run, they wait for one another.
"""
import argparse, functools, os, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from mylib.vision.transform import RandomResizedCrop, Resize

from common import close, fastai_argument, in_turn, make_photos, middle, ratio, said, sides, table

ours_tfms = dict(random=RandomResizedCrop(224, min_scale=0.35), resize=Resize(224))
tv_tfms = dict(random=[transforms.RandomResizedCrop(224, scale=(0.35, 1.)), transforms.RandomHorizontalFlip()], resize=[transforms.Resize(224), transforms.CenterCrop(224)])
titles = dict(random='RandomResizedCrop(224) and flip', resize='Resize(224)')


class Torchvision:
    "PyTorch's DataLoader, as a side"
    def __init__(self, path, kind, bs, workers):
        self.dl = DataLoader(datasets.ImageFolder(path, transforms.Compose([*tv_tfms[kind], transforms.ToTensor()])), bs, shuffle=True, num_workers=workers)
    def __call__(self, _do, first):
        began = time.perf_counter()
        n = sum(len(o[0]) for o in self.dl)
        return n/(time.perf_counter()-began)


def decoder(path, side, threads):
    "Pictures a second that PIL decodes"
    def one(file):
        with Image.open(file) as im:
            scale = side/min(im.size)
            if scale<1: im.draft(None, tuple(round(o*scale) for o in im.size))
            im.load()
    files = sorted(path.rglob('*.jpg'))
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        for _ in pool.map(one, files): pass
        return len(files)/(time.perf_counter()-began)


def compare(path, kind, args):
    "The rows of one table"
    kwargs = dict(path=str(path), kind=kind, size=224, bs=args.bs, workers=args.workers, threads=1)
    loaders = sides('Pipeline', not args.no_fastai, **kwargs)
    said(loaders)
    loaders['torchvision'] = Torchvision(path, kind, args.bs, args.workers)
    tasks = {'decoder': lambda: decoder(path, ours_tfms[kind].needs_side, args.workers)}
    for name,side in loaders.items():
        tasks[name,'first'],tasks[name,'later'] = (functools.partial(side, 'epoch', first=o) for o in (True, False))
    for f in tasks.values(): f() # the files are in memory from here on
    res = in_turn({k: f for k,f in tasks.items() if k=='decoder' or k[1]=='first'}, args.repeats)
    res.update(in_turn({k: f for k,f in tasks.items() if k!='decoder' and k[1]=='later'}, args.repeats))
    rows = [[name, *(o for when in ('first', 'later') for o in (middle(res[name,when]), ratio(res['ours',when], res[name,when])))] for name in loaders]
    rows.append(['decoder alone', middle(res['decoder']), ratio(res['ours','first'], res['decoder']), '', ''])
    table([titles[kind], 'first epoch', 'ours is', 'later epochs', 'ours is'], rows)
    loaders.pop('torchvision')
    close(loaders)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--sizes', nargs='+', default=['500x375', '1600x1200'])
    p.add_argument('--n', type=int, default=320, help='pictures in each folder')
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--workers', type=int, default=min(8, os.cpu_count() or 1), help='threads of ours and processes of the others')
    fastai_argument(p)
    args = p.parse_args()
    torch.set_num_threads(1)
    for size in args.sizes:
        w,h = map(int, size.split('x'))
        with tempfile.TemporaryDirectory() as folder:
            path = make_photos(Path(folder)/'photos', args.n, (w,h))
            kb = sum(o.stat().st_size for o in path.rglob('*.jpg'))/args.n/1e3
            print(f"{args.n} JPEGs of {size}, {kb:.0f} kB each; {args.workers} threads or processes; pictures a second, median of {args.repeats} (middle half)\n")
            for kind in titles: compare(path, kind, args)


if __name__=='__main__': main()
