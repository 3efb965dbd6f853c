"""Seconds to fine-tune a model on photos for an epoch: ours, fastai, and the model alone

    python bench/finetune.py [--photos FILE.tgz] [--weights FILE.safetensors] [--size 128] [--repeats 3] [--no-fastai]

1. `mobilenetv2_100`, all layers, on photos: RandomResizedCrop and aug_transforms on both sides. `model alone` is forward,
   backward and step of the same model in our process, on the batches of an epoch of ours, which are there already, and validation's forward passes.
   Aimed at: ours takes at most 1.1 times as long.
2. The same model alone with weights and inputs in either memory format: ours uses channels last for both.
3. `mobilenetv3_small_050` at 128 pixels on JPEGs of 1600 x 1200, where decoding is the limit. Aimed at: the second epoch takes half as long as fastai's.
"""
import argparse, functools, os, tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from mylib.train.optimizer import make_groups
from mylib.vision.groups import default_split
from mylib.vision.model import create_vision_model

from common import close, fastai_argument, in_turn, make_photos, middle, photo_arguments, ratio, said, seconds, sides, some_photos, table

formats = {'channels last': torch.channels_last, 'contiguous': torch.contiguous_format}


class Alone:
    "A model with its optimizer and one batch that stays"
    def __init__(self, arch, size, bs, weights='channels last', inputs='channels last'):
        self.model = create_vision_model(arch, 10, pretrained=False, normalize=True).to(memory_format=formats[weights])
        self.opt = torch.optim.AdamW(make_groups(self.model, default_split), lr=1e-3, fused=True)
        self.x,self.y = torch.rand(bs, 3, size, size).contiguous(memory_format=formats[inputs]), torch.randint(10, (bs,))

    def step(self):
        F.cross_entropy(self.model(self.x), self.y).backward()
        self.opt.step()
        self.opt.zero_grad()


def epochs(title, path, arch, weights, size, args, augment):
    "The table of one task: the first epoch, and later ones in turn"
    loaders = sides('FineTune', not args.no_fastai, path=str(path), arch=arch, weights=weights, size=size, bs=args.bs, workers=args.workers, augment=augment)
    said(loaders)
    first = {k: v('epoch') for k,v in loaders.items()}
    tasks = {k: functools.partial(v, 'epoch') for k,v in loaders.items()}
    tasks['model alone'] = functools.partial(loaders['ours'], 'alone')
    for _ in range(2): tasks['model alone']()
    res = in_turn(tasks, args.repeats)
    def row(k): return [k, f'{first[k][0]:.1f}' if k in first else '', *(o for i in (0, 1) for o in (middle([v[i] for v in res[k]], digits=1), ratio([v[i] for v in res[k]], [v[i] for v in res['model alone']]))),
                        f"{loaders[k]('accuracy'):.2f}" if k in loaders else '']
    table([title, 'first epoch', 'later epochs, wall', 'of the model', 'CPU', 'of the model', 'accuracy'], [row(k) for k in res])
    close(loaders)


def formats_table(arch, size, args):
    cases = {f'{w} / {x}': Alone(arch, size, args.bs, w, x) for w in formats for x in formats}
    for o in cases.values(): o.step()
    res = in_turn({k: lambda o=o: seconds(o.step) for k,o in cases.items()}, args.repeats+2)
    base = next(iter(res.values()))
    table([f'{arch}, a step: weights / inputs', 'milliseconds', 'of the first row'], [[k, middle(v, 1e3), ratio(v, base)] for k,v in res.items()])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    photo_arguments(p)
    p.add_argument('--n', type=int, default=404, help='photos; a twentieth is for validation, and fastai leaves out a last batch that is not full')
    p.add_argument('--size', type=int, default=128, help='pixels of the first task')
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--workers', type=int, default=min(8, os.cpu_count() or 1), help='threads of ours and processes of fastai')
    p.add_argument('--repeats', type=int, default=3)
    fastai_argument(p)
    args = p.parse_args()
    print(f"{args.n} pictures, batches of {args.bs}, {args.workers} threads or processes, {torch.get_num_threads()} of PyTorch's; seconds, median of {args.repeats} (middle half)\n")
    with tempfile.TemporaryDirectory() as folder:
        photos = some_photos(args.photos, Path(folder)/'photos', args.n)
        epochs(f'mobilenetv2_100 at {args.size}', photos, 'mobilenetv2_100', args.weights, args.size, args, True)
        formats_table('mobilenetv2_100', args.size, args)
        large = make_photos(Path(folder)/'large', args.n, (1600, 1200))
        epochs('mobilenetv3_small_050 at 128, 1600x1200', large, 'mobilenetv3_small_050', None, 128, args, False)


if __name__=='__main__': main()
