"""Tables and ratings, against a bare PyTorch loop, plain pandas, and fastai

    python bench/tables.py [--rows 1000000] [--repeats 5] [--no-fastai] [--adult FILE.tgz] [--ratings FILE.tgz]

An epoch of MovieLens 100k and one of Adult at batch 64: the same model, optimizer, batches and schedule in a loop as one writes it
by hand; aimed at 1.3 times that loop at most, and 4 times as fast as fastai. Preparing a frame of mixed columns: 1.5 times what it takes in plain
pandas, and twice the memory of the frame. One row predicted: 3 times the forward pass alone. Without the archives the tables are made
ones of the same shape. One thread on all sides.
"""
import argparse, statistics, tarfile, tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from common import Side, close, fastai_argument, find_data, in_turn, middle, ratio, said, sides, table
from tasks import adult


def movielens(archive, folder):
    "The ratings as a CSV file; random ones of the same shape where there is no archive"
    if archive is None:
        rng = np.random.default_rng(0)
        df = pd.DataFrame(dict(user=rng.integers(1, 944, 100_000), item=rng.integers(1, 1683, 100_000), rating=rng.integers(1, 6, 100_000)))
    else:
        with tarfile.open(archive) as tar: df = pd.read_csv(tar.extractfile('ml-100k/u.data'), sep='\t', header=None, names=['user', 'item', 'rating'], usecols=[0, 1, 2])
    df.to_csv(folder/'ratings.csv', index=False)
    return str(folder/'ratings.csv')


def people(archive, folder):
    "The Adult table as a CSV file; random columns of the same shape where there is no archive"
    if archive is None:
        rng,n = np.random.default_rng(0),32_561
        df = pd.DataFrame({**{o: rng.choice([f'{o} {i}' for i in range(k)], n) for o,k in zip(adult['cat_names'], (9, 16, 7, 15, 6, 5))},
                           **{o: rng.normal(30, 10, n) for o in adult['cont_names']}, 'salary': rng.choice(['<50k', '>=50k'], n)})
        df.loc[rng.random(n)<0.02, 'education-num'] = np.nan
        df.to_csv(folder/'adult.csv', index=False)
    else:
        with tarfile.open(archive) as tar: (folder/'adult.csv').write_bytes(tar.extractfile('adult_sample/adult.csv').read())
    return str(folder/'adult.csv')


def epochs(name, both, repeats):
    "A row: seconds of an epoch in the bare loop, ours and fastai"
    tasks = {'bare': lambda: both['ours']('bare'), **{k: lambda o=o: o('epoch') for k,o in both.items()}}
    for f in tasks.values(): f()
    res = in_turn(tasks, repeats)
    return [name, *(middle(res[k], digits=2) if k in res else '' for k in ('bare', 'ours', 'fastai')), ratio(res['ours'], res['bare']), ratio(res['fastai'], res['ours']) if 'fastai' in res else '']


def predictions(name, both, n_rows):
    "Rows: microseconds of one, and thousands of rows a second"
    for o in both.values(): o('one', n=50)
    one = {'bare': both['ours']('forward', n=500), **{k: o('one', n=500 if k=='ours' else 100) for k,o in both.items()}}
    many = {'bare': [n_rows/both['ours']('bare_many', n=n_rows)], **{k: [n_rows/o('many', n=n_rows)] for k,o in both.items()}}
    head = [f'{name}: predict a row, us', *(middle(one[k], 1e6) if k in one else '' for k in ('bare', 'ours', 'fastai')), ratio(one['ours'], one['bare']), ratio(one['fastai'], one['ours']) if 'fastai' in one else '']
    return [head, [f'{name}: {n_rows:,} rows, thousand rows/s', *(f'{statistics.median(many[k])/1e3:.0f}' if k in many else '' for k in ('bare', 'ours', 'fastai')),
                   ratio(many['bare'], many['ours']), ratio(many['ours'], many['fastai']) if 'fastai' in many else '']]


def prepared(args):
    "A table: seconds and memory to prepare a large frame"
    both = {'plain': Side('ours_side.py', 'PlainPrepare', n=args.rows), **sides('Prepare', not args.no_fastai, n=args.rows)}
    memory = {k: o('memory') for k,o in both.items()}
    res = in_turn({k: lambda o=o: o('once') for k,o in both.items()}, args.repeats)
    close(both)
    rows = [[k, middle(res[k], digits=2), ratio(res[k], res['plain']), f'{memory[k][0]:.0f}', f'{memory[k][1]:.0f}', f'{memory[k][1]/memory[k][0]:.2f}x'] for k in both]
    table([f'preparing {args.rows:,} rows', 'seconds', 'of plain pandas', 'the frame, MB', 'more at the peak, MB', 'of the frame'], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--rows', type=int, default=1_000_000)
    p.add_argument('--repeats', type=int, default=5)
    for name,file in (('adult', 'adult_sample.tgz'), ('ratings', 'ml-100k.tgz')):
        p.add_argument(f'--{name}', default=find_data(file), help='a .tgz with the table; without: a made one')
    fastai_argument(p)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        files = dict(ratings=movielens(args.ratings, Path(tmp)), adult=people(args.adult, Path(tmp)))
        rows,later = [],[]
        for kind,csv in files.items():
            both = sides('Rows', not args.no_fastai, csv=csv, kind=kind)
            if kind=='ratings': said(both)
            rows.append(epochs(f'{kind}, an epoch at batch 64, s', both, args.repeats))
            if kind=='adult': later += predictions('plain net', both, args.rows)
            close(both)
        both = sides('Rows', False, csv=files['adult'], kind='default')
        rows.append(epochs('adult with the default model, s', both, min(3, args.repeats)))
        later += predictions('default model', both, args.rows//5)
        close(both)
        table(['', 'bare', 'ours', 'fastai', 'ours / bare', 'fastai / ours'], rows)
        table(['', 'bare', 'ours', 'fastai', 'ours / bare', 'ours is faster than fastai'], later)
    prepared(args)


if __name__=='__main__': main()
