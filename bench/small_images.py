"""Microseconds a sample, after the first epoch, for many small images of which nothing random is done: ours, and rows of a tensor taken by hand

    python bench/small_images.py [--folder cifar10/train] [--n 50000] [--repeats 5]

Without a folder (one sub-folder a class), images of 32 x 32 with noise are made. The first epoch opens each file; later ones take each batch from
what was kept, after looking whether the files have changed. Batch transforms are left out on both sides; one core, no threads. The aim is at most
10 microseconds a sample.
"""
import argparse, tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mylib.data.items import get_image_files
from mylib.vision.data import ImageDataLoaders

from common import in_turn, middle, ratio, seconds, table

aim = 10 # microseconds a sample


def make_images(folder, n, n_classes=10):
    "A folder of `n` JPEGs of 32 x 32"
    rng = np.random.default_rng(0)
    for c in range(n_classes): (folder/str(c)).mkdir(parents=True)
    for i in range(n): Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder/str(i%n_classes)/f'{i}.jpg')
    return folder


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--folder', type=Path)
    p.add_argument('--n', type=int, default=50_000)
    p.add_argument('--repeats', type=int, default=5)
    args = p.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as tmp:
        path = args.folder or make_images(Path(tmp)/'images', args.n)
        dls = ImageDataLoaders.from_folder(path, valid_pct=0.02, seed=1, bs=64, device='cpu', num_workers=0)
        dl = dls.train.new(batch_tfms=())
        n = len(dl)*64
        def epoch(): return sum(len(xb) for xb,_ in dl)
        first = seconds(epoch)
        images = torch.randint(0, 256, (dl.n, 32, 32, 3), dtype=torch.uint8)
        labels = torch.randint(0, 10, (dl.n,))
        def by_hand():
            for idxs in torch.randperm(dl.n).split(64): images[idxs].permute(0, 3, 1, 2),labels[idxs]
        found = in_turn({'ours': lambda: seconds(epoch)/n*1e6, 'rows of a tensor': lambda: seconds(by_hand)/n*1e6}, args.repeats)
        print(f"{len(get_image_files(path)):,} files, {dl.n:,} training images; first epoch {first/n*1e6:.0f} us a sample")
        rows = [[k, middle(v, digits=1), ratio(v, found['rows of a tensor']), 'yes' if k!='ours' or np.median(v)<=aim else 'no'] for k,v in found.items()]
        table(['later epochs', 'us a sample', 'of the rows', f'within {aim} us'], rows)


if __name__=='__main__': main()
