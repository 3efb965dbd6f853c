"""Milliseconds of `learn.predict` on one picture and seconds of `get_preds` on many: ours, by hand, and fastai

    python bench/predict.py [--archs mobilenetv2_100 resnet18] [--size 224] [--n 1000] [--repeats 9] [--no-fastai]

`by hand` is what one would write without a library: open, cut and shrink the picture with PIL, make floats, normalize, and the model's forward
pass with a softmax; `forward` is that pass alone. Aimed at: ours takes at most 1.2 times as long as by hand.
`overhead` is `predict` with a model that does nothing on a picture that is already open: what the library itself costs.
`a row` is `predict` of one row of a table, beside the forward pass alone of its codes and numbers. Aimed at: at most 3 times as long.
"""
import argparse, functools, os, statistics, tempfile
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from mylib.core.testing import synth_table
from mylib.data.all import CategoryBlock, DataBlock
from mylib.learner.learner import Learner
from mylib.tabular.data import TabularDataLoaders
from mylib.tabular.learner import tabular_learner
from mylib.vision.block import ImageBlock
from mylib.vision.image import PILImage
from mylib.vision.model import create_vision_model
from mylib.vision.transform import RandomResizedCrop

from common import close, fastai_argument, in_turn, make_photos, middle, ratio, said, seconds, sides, table, warm_allocator

mean,std = torch.tensor([0.485, 0.456, 0.406])[:,None,None], torch.tensor([0.229, 0.224, 0.225])[:,None,None]


class ByHand:
    def __init__(self, arch, size): self.model,self.size = create_vision_model(arch, 2, pretrained=False).eval(),size

    def prepare(self, im):
        im = im.convert('RGB')
        side = min(im.size)/1.14
        left,top = (im.width-side)/2, (im.height-side)/2
        im = im.resize((self.size, self.size), Image.Resampling.BILINEAR, box=(left, top, left+side, top+side))
        return (torch.from_numpy(np.array(im)).permute(2, 0, 1)/255).sub_(mean).div_(std)

    @torch.no_grad()
    def forward(self, x): return self.model(x).softmax(-1)
    def one(self, item): return self.forward(self.prepare(item if isinstance(item, Image.Image) else Image.open(item))[None])
    def many(self, files, bs):
        return torch.cat([self.forward(torch.stack([self.prepare(Image.open(f)) for f in files[i:i+bs]])) for i in range(0, len(files), bs)])


def median_of_5(f): return statistics.median(seconds(f) for _ in range(5)) # a process that waited for its turn begins slowly


class Nothing(nn.Module):
    def __init__(self): super().__init__(); self.w = nn.Parameter(torch.zeros(2))
    def forward(self, x): return self.w.expand(len(x), 2)


def overhead(path, size, repeats):
    "Milliseconds of `predict` with a model that does nothing, and of the same preparation by hand"
    dls = DataBlock((ImageBlock, CategoryBlock), get_items=lambda p: sorted(Path(p).rglob('*.jpg')), get_y=lambda f: f.parent.name,
                    item_tfms=RandomResizedCrop(size)).dataloaders(path, bs=8, device='cpu')
    learn,im,hand = Learner(dls, Nothing()),PILImage.create(next(path.rglob('*.jpg'))),ByHand('resnet18', size)
    res = in_turn({'ours': lambda: seconds(lambda: learn.predict(im)), 'hand': lambda: seconds(lambda: hand.prepare(im))}, repeats*5)
    table(['overhead', 'milliseconds'], [['predict without a model', middle(res['ours'], 1e3, 2)], ['the preparation by hand', middle(res['hand'], 1e3, 2)]])


def rows(repeats):
    "Milliseconds of `predict` for one row of a table, and of the forward pass alone"
    df,lines = synth_table(500).drop(columns='since'),[]
    for arch in 'ensemble','mlp':
        dls = TabularDataLoaders.from_df(df, y_names='rich', y_block=CategoryBlock(), seed=1, bs=64, device='cpu')
        learn,row = tabular_learner(dls, arch=arch),df.iloc[0].to_dict()
        learn.model.eval()
        x,forward = learn.predictor().dl.batch_of(row),torch.no_grad()(learn.model)
        res = in_turn({'ours': lambda: median_of_5(lambda: learn.predict(row)), 'forward': lambda: median_of_5(lambda: forward(*x))}, repeats*5)
        lines.append([arch, middle(res['ours'], 1e3, 2), middle(res['forward'], 1e3, 2), ratio(res['ours'], res['forward'])])
    table(['a row, ms', 'predict', 'forward', 'times'], lines)


def compare(path, arch, args):
    hand,files = ByHand(arch, args.size),sorted(path.rglob('*.jpg'))
    loaders = sides('Predict', not args.no_fastai, path=str(path), arch=arch, size=args.size, workers=args.workers, threads=args.threads)
    opened,x = PILImage.create(files[0]),torch.rand(1, 3, args.size, args.size).contiguous(memory_format=torch.channels_last)
    rows = []
    unseen = cycle(files)
    for what,item in (('a file', lambda: next(unseen)), ('an open picture', lambda: opened)):
        tasks = {k: lambda v=v: statistics.median(v('one', n=5, opened=what!='a file')) for k,v in loaders.items()}
        tasks.update({'by hand': lambda: median_of_5(lambda: hand.one(item())), 'forward': lambda: median_of_5(lambda: hand.forward(x))})
        for f in tasks.values(): f()
        rows.append([f'{arch}: {what}, ms', in_turn(tasks, args.repeats), 1e3, 1])
    tasks = {k: functools.partial(v, 'many', path=str(path), bs=64) for k,v in loaders.items()}
    tasks['by hand'] = lambda: seconds(lambda: hand.many(files, 64))
    rows.append([f'{arch}: {len(files)} files, s', in_turn(tasks, args.many_repeats), 1, 1])
    close(loaders)
    def cell(res, k, scale, digits): return f"{middle(res[k], scale, digits)} {ratio(res[k], res['by hand'])}" if k in res else ''
    return [[name, *(cell(res, k, scale, digits) for k in ('by hand', 'ours', 'fastai', 'forward'))] for name,res,scale,digits in rows]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--archs', nargs='+', default=['mobilenetv2_100', 'resnet18'])
    p.add_argument('--size', type=int, default=224)
    p.add_argument('--n', type=int, default=1000, help='pictures for get_preds')
    p.add_argument('--workers', type=int, default=min(8, os.cpu_count() or 1), help='threads of ours and processes of fastai')
    p.add_argument('--threads', type=int, default=1, help="PyTorch's own threads; with more than one, anything else that runs makes them wait for one another")
    p.add_argument('--repeats', type=int, default=9)
    p.add_argument('--many-repeats', type=int, default=1)
    fastai_argument(p)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    warm_allocator()
    some = sides('Augment', not args.no_fastai, kind='flip', bs=1, size=8, threads=1)
    said(some)
    close(some)
    print(f"JPEGs of 500x375, {args.threads} of PyTorch's threads; median of {args.repeats} turns (middle half), each the middle of 5, and how many times as long as by hand\n")
    rows(args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        path = make_photos(Path(folder)/'photos', args.n)
        overhead(make_photos(Path(folder)/'few', 16), args.size, args.repeats)
        table(['', 'by hand', 'ours', 'fastai', 'forward'], [row for arch in args.archs for row in compare(path, arch, args)])


if __name__=='__main__': main()
