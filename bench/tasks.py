"""What both sides of the benchmarks do alike; each side adds how its library makes things. See `common.Side`"""
import ctypes, gc, platform, random, resource, threading, time, weakref
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torchvision
from torch import nn

from common import warm_allocator


def wait():
    "Wait until a GPU, if one is used, has done all that it was given"
    if torch.cuda.is_initialized(): torch.cuda.synchronize()


def timed(f):
    "Wall and CPU seconds of `f`, with those of processes that it ended"
    def cpu(): return time.process_time()+sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    wait()
    began = time.perf_counter(),cpu()
    f()
    wait()
    return time.perf_counter()-began[0], cpu()-began[1]


def resident():
    "Megabytes that this process holds"
    return int(Path('/proc/self/statm').read_text().split()[1])*resource.getpagesize()/2**20


class Task:
    lib = None # The names of the library that a side measures: both have them
    def versions(self): return f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    def peak(self): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


class LoopTask(Task):
    "Small nets on batches that are there; a side has `fit`"
    def __init__(self, widths, bs, n):
        torch.set_num_threads(1)
        gen,self.widths = torch.Generator().manual_seed(0),widths
        self.batches = [(torch.randn(bs, widths[0], generator=gen), torch.randint(widths[-1], (bs,), generator=gen)) for _ in range(n)]

    def model(self):
        torch.manual_seed(0)
        return nn.Sequential(*[o for i,j in zip(self.widths, self.widths[1:]) for o in (nn.Linear(i, j), nn.ReLU())][:-1])


class PipelineTask(Task):
    "Walks over a loader, with as many threads or processes as `workers`"
    def __init__(self, path, kind, size, bs, workers, threads):
        torch.set_num_threads(threads)
        lib = self.lib
        tfms = dict(random=lambda: [lib.RandomResizedCrop(size, min_scale=0.35), lib.FlipItem()], resize=lambda: [lib.Resize(size)])[kind]
        self.make = lambda: lib.ImageDataLoaders.from_folder(path, valid_pct=0.01, seed=1, bs=bs, item_tfms=tfms(), num_workers=workers, device='cpu')
        self.dls = None

    def epoch(self, first):
        "Pictures a second, of a new loader if it is to be a `first` epoch"
        if first or self.dls is None: self.dls = self.make()
        began = time.perf_counter()
        n = sum(len(o[0]) for o in self.dls.train)
        return n/(time.perf_counter()-began)


class PhotoTask(Task):
    "Has a learner for the photos in a folder; a side has `make_learner(dls, arch, weights)`"
    def prepare(self, path, arch, weights, size, bs, workers, augment, device='cpu'):
        dls = self.lib.ImageDataLoaders.from_folder(path, valid_pct=0.05, seed=1, bs=bs, item_tfms=[self.lib.RandomResizedCrop(size, min_scale=0.35)],
                                                    batch_tfms=self.lib.aug_transforms() if augment else [], num_workers=workers, device=device)
        self.learn = self.make_learner(dls, arch, weights)
        self.learn.unfreeze()


def some_bytes(bs, size): return torch.randint(256, (bs, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def augmented(kind, bs, size):
    "What is augmented: images as bytes; with `kind` 'masks' or 'points' codes from 0 to 20 in patches, or 68 points from -1 to 1"
    gen = torch.Generator().manual_seed(1)
    if kind=='masks': more = [torch.randint(21, (bs, size//16, size//16), generator=gen).repeat_interleave(16, 1).repeat_interleave(16, 2)]
    else: more = [torch.rand(bs, 68, 2, generator=gen)*1.6-0.8] if kind=='points' else []
    return some_bytes(bs, size),*more


class PredictTask(PhotoTask):
    "Predicts one picture, or a folder of them"
    def __init__(self, path, arch, size, workers, threads):
        torch.set_num_threads(threads)
        warm_allocator()
        self.prepare(path, arch, None, size, 32, workers, False)
        self.files = cycle(sorted(map(str, Path(path).rglob('*.jpg'))))
        self.opened = self.lib.PILImage.create(next(self.files))

    def one(self, n, opened):
        "Seconds of each of `n` predictions, of files that were not seen before or of one picture"
        with self.learn.no_bar(): return [timed(lambda: self.learn.predict(self.opened if opened else next(self.files)))[0] for _ in range(n)]

    def many(self, path, bs):
        dl = self.learn.dls.test_dl(sorted(map(str, Path(path).rglob('*.jpg'))), bs=bs)
        with self.learn.no_bar(): return timed(lambda: self.learn.get_preds(dl=dl))[0]


class Pair:
    "An image and its target; fastai applies steps to the parts of a tuple"
    def __init__(self, image, target): self.image,self.target = image,target
def image_of(o): return o.image
def target_of(o): return o.target


def breed_of(path): return path.name.rpartition('_')[0]


def few_of_each(files, kinds, n):
    "The first `n` files of each of `kinds`, each with its kind, and after them the next half as many"
    own = [[(o, kind) for o in files if breed_of(o)==kind] for kind in kinds]
    return [o for part in own for o in part[:n]], [o for part in own for o in part[n:n+n//2]]


def judged_data(kind, data):
    "Pairs of an image and its target for training and for validation, of the real data below `data`"
    if kind=='masks':
        files = sorted((data/'camvid_tiny'/'images').glob('*.png'))
        pairs = [(o, data/'camvid_tiny'/'labels'/f'{o.stem}_P.png') for o in np.array(files, dtype=object)[np.random.default_rng(0).permutation(len(files))]]
        return pairs[20:],pairs[:20]
    if kind=='points':
        def rows(part, n): return [(data/'face_keypoints'/part/o[0], np.array(o[1:], dtype=np.float32).reshape(-1, 2))
                                   for o in pd.read_csv(data/'face_keypoints'/f'{part}.csv').head(n).itertuples(index=False)]
        return rows('train', 320),rows('valid', 100)
    if kind=='labels':
        df = pd.read_csv(data/'coco_tiny'/'train.csv')
        def some(df): return [(data/'coco_tiny'/'train'/o.fname, o.labels.split()) for o in df.itertuples()]
        return some(df[~df.is_valid]),some(df[df.is_valid])
    return few_of_each(sorted((data/'oxford-iiit-pet'/'images').glob('*.jpg')), ('Abyssinian', 'Bengal', 'american_bulldog'), 90)


def quality(kind, preds, targs, size):
    "Mean Jaccard index of the classes that occur, mean distance of points in pixels, mean average precision, or accuracy"
    preds,targs = (torch.as_tensor(np.asarray(o)) for o in (preds, targs))
    if kind=='masks':
        found = preds.argmax(1)
        both = [((found==c)&(targs==c)).sum()/((found==c)|(targs==c)).sum() for c in targs.unique()]
        return torch.stack(both).mean().item()
    if kind=='points': return ((preds.reshape(len(preds), -1, 2)-targs.reshape(len(preds), -1, 2))*size/2).norm(dim=-1).mean().item()
    if kind=='labels':
        from sklearn.metrics import average_precision_score
        occurs = targs.sum(0)>0
        return float(average_precision_score(targs[:,occurs], preds[:,occurs], average='macro'))
    return (preds.argmax(1)==targs).float().mean().item()


class JudgedTask(Task):
    "Fine-tunes on real data of a `kind`; a side has `judged_learner(dls)`, `loader_args(seed)` and `quiet(learn)`"
    def __init__(self, kind, data, weights, n, size, bs, workers, threads=1):
        torch.set_num_threads(threads)
        self.kind,self.weights,self.size,self.bs,self.workers = kind,weights,size,bs,workers
        self.codes = (Path(data)/'camvid_tiny'/'codes.txt').read_text().split('\n') if kind=='masks' else None
        train,valid = judged_data(kind, Path(data))
        self.train,self.valid = train[::max(1, len(train)//n)][:n],valid[::max(1, 2*len(valid)//n)][:n//2]

    def make(self, seed):
        "A new learner"
        lib,items = self.lib,[Pair(*o) for o in self.train+self.valid]
        target = dict(masks=lambda: lib.MaskBlock([o for o in self.codes if o]), points=lambda: lib.PointBlock, labels=lambda: lib.MultiCategoryBlock, classes=lambda: lib.CategoryBlock)[self.kind]()
        block = lib.DataBlock(blocks=(lib.ImageBlock, target), get_x=image_of, get_y=target_of, splitter=lib.IndexSplitter(list(range(len(self.train), len(items)))),
                              item_tfms=[lib.Resize(self.size, method='squish')], batch_tfms=[*lib.aug_transforms(), lib.Normalize.from_stats(*lib.imagenet_stats)])
        for f in torch.manual_seed,np.random.seed,random.seed: f(seed)
        self.learn = self.judged_learner(block.dataloaders(items, bs=self.bs, num_workers=self.workers, device='cpu', **self.loader_args(seed)))

    def judge(self, seed, epochs):
        "Quality after `fine_tune` of a new learner"
        self.make(seed)
        with self.quiet(self.learn):
            self.learn.fine_tune(epochs)
            preds,targs = self.learn.get_preds()
        return quality(self.kind, preds, targs, self.size)


adult = dict(y_names='salary', cont_names=['age', 'fnlwgt', 'education-num'],
             cat_names=['workclass', 'education', 'marital-status', 'occupation', 'relationship', 'race'])


class RowsTask(Task):
    "Has a learner for the rows of a table, `kind` 'adult' or 'ratings'; a side has `make_learner(kind, df)` and `one_cycle`"
    def __init__(self, csv, kind, threads=1, device='cpu'):
        torch.set_num_threads(threads)
        self.kind,self.device,self.df = kind,device,pd.read_csv(csv, skipinitialspace=True)
        self.learn = self.make_learner(kind, self.df)

    def epoch(self): return self.one_cycle(self.learn)[0]
    def one(self, n):
        "Seconds of each of `n` predictions of a row"
        rows = [self.df.iloc[i] for i in range(n)]
        with self.learn.no_bar(): return [timed(lambda r=r: self.learn.predict(r))[0] for r in rows]

    def many(self, n):
        "Seconds to predict `n` rows that are prepared already"
        dl = self.learn.dls.test_dl(self.df.drop(columns='salary').sample(n, replace=True, random_state=0))
        with self.learn.no_bar(): return timed(lambda: self.learn.get_preds(dl=dl))[0]


def mixed_frame(n):
    "`n` rows of text, codes, numbers and gaps, and a target"
    rng = np.random.default_rng(0)
    df = pd.DataFrame({**{f'c{k}': rng.choice([f'v{j}' for j in range(k)], n) for k in (3, 10, 50, 300, 2000)}, **{f'k{k}': rng.integers(0, k, n) for k in (5, 40)},
                       **{f'x{i}': rng.normal(5, 3, n) for i in range(6)}, **{f'i{i}': rng.integers(0, 1000, n) for i in range(2)}})
    for i in range(3): df.loc[rng.random(n)<0.1, f'x{i}'] = np.nan
    df['c10'] = df['c10'].where(rng.random(n)>0.05)
    return df.assign(y=rng.normal(size=n))


def watched(f):
    "Megabytes that the process held more at most while it did `f`, and that it holds more after it"
    gc.collect()
    before,peak,done = resident(),[0.],threading.Event()
    def watch():
        while not done.wait(0.002): peak[0] = max(peak[0], resident())
    watcher = threading.Thread(target=watch)
    watcher.start()
    f()
    done.set(); watcher.join()
    gc.collect()
    return peak[0]-before,resident()-before


class PrepareTask(Task):
    "Prepares a large frame; a side has `prepare`"
    def __init__(self, n):
        self.df,order = mixed_frame(n),np.random.default_rng(1).permutation(n)
        self.splits = order[n//5:],order[:n//5]
        self.cats,self.conts = ([o for o in self.df if o[0] in kinds] for kinds in ('ck', 'xi'))

    def once(self): return timed(self.prepare)[0]
    def memory(self):
        "Megabytes of the frame, and how many more the process held at most while it was prepared"
        peak,_ = watched(self.prepare)
        return self.df.memory_usage(deep=True).sum()/2**20, peak


class ReviewsTask(Task):
    "Makes loaders of a language model for texts, and learners of one; a side has `learner(config)` and `quiet(learn)`"
    def __init__(self, csv, bs=64, seq_len=72, threads=1):
        torch.set_num_threads(threads)
        self.df,self.bs,self.seq_len,self.dls = pd.read_csv(csv),bs,seq_len,None

    def make(self):
        self.dls = self.lib.TextDataLoaders.from_df(self.df, text_col='text', is_lm=True, valid_pct=0.1, seed=1, bs=self.bs, seq_len=self.seq_len, device='cpu')

    def prepare(self):
        "Seconds until the loaders are there, and megabytes more at most and after it"
        took,self.dls = [],None
        res = watched(lambda: took.append(timed(self.make)[0]))
        return took[0],*res

    def batches(self, n):
        "Seconds of each of `n` batches from the second one on"
        it = iter(self.dls.train)
        next(it)
        return [timed(lambda: next(it))[0] for _ in range(n)]

    def language(self, config):
        self.learn = self.learner(config)
        return len(self.dls.train)
    def epoch(self):
        with self.quiet(self.learn): return timed(lambda: self.learn.fit_one_cycle(1, 2e-3))[0]
    def write(self, n):
        with self.quiet(self.learn): return timed(lambda: self.learn.predict('The film was', n, temperature=0.75))[0]


class GivesBack:
    "For a task with a learner: what is left after `del learn`, with the garbage collector off"
    def left(self):
        gc.disable()
        before,kept = resident(),[weakref.ref(o) for o in (self.learn, self.learn.model, self.learn.dls, self.learn.dls.train, *self.learn.model.parameters())]
        del self.learn
        alive = sum(o() is not None for o in kept)
        after = resident()
        ctypes.CDLL(None).malloc_trim(0) # C's allocator keeps what it was given back, for later
        return dict(before=before, after=after, trimmed=resident(), alive=alive, objects=len(kept))


def tasks_in(names):
    "The tasks among the names of a script"
    return {k: v for k,v in names.items() if isinstance(v, type) and issubclass(v, Task)}
