"""Texts, beside fastai: preparing reviews, batches, an epoch of a language model, and writing words

    python bench/texts.py [--imdb FILE.tgz] [--n 12500] [--n-lm 400] [--repeats 3] [--no-fastai]

Preparing splits and numbers the reviews for a language model; aimed at 5 times fastai's speed and a quarter of its memory. Batches are those of a corpus
and of one a tenth as large; aimed at the same seconds. An epoch of the same AWD-LSTM: `bare` is the model in a loop as one writes it by hand, over batches
that are there; aimed at 1.1 times that. Writing goes on in a text; aimed at a third of fastai's time, and at time that is linear. The reviews are those of
IMDb; without them, made of the words of Python's documentation.
"""
import argparse, functools, pydoc_data.topics, tarfile, tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from common import close, fastai_argument, find_data, in_turn, middle, ratio, said, sides, table


def reviews(archive, n):
    "A frame of `n` texts, labels and whether they are held out, half of them negative"
    if archive is None:
        words,rng = ' '.join(pydoc_data.topics.topics.values()).split(),np.random.default_rng(0)
        starts,lengths = rng.integers(len(words)-2000, size=n),rng.geometric(1/230, n)
        return pd.DataFrame(dict(text=[' '.join(words[i:i+k]) for i,k in zip(starts, lengths)], label=np.resize(['neg', 'pos'], n), is_valid=False))
    rows = []
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.split('/')
            if len(parts)==4 and parts[2] in ('neg', 'pos'): rows.append((tar.extractfile(member).read().decode(), parts[2], parts[1]=='test'))
    df = pd.DataFrame(rows, columns=['text', 'label', 'is_valid']).sample(frac=1, random_state=0)
    return df[~df.is_valid].head(n)


def wrote(df, folder, name):
    df.to_csv(folder/name, index=False)
    return str(folder/name)


def prepared(both, repeats):
    res = in_turn({k: lambda o=o: o('prepare') for k,o in both.items()}, repeats)
    rows = [[k, middle([o[0] for o in v], digits=1), *(f'{max(o[i] for o in v):.0f}' for i in (1, 2))] for k,v in res.items()]
    table(['reviews to loaders', 'seconds', 'MB more at the peak', 'MB more after it'], rows)


def compared(both, config, repeats):
    for o in both.values(): o('prepare')
    batches = {k: o('language', config=config) for k,o in both.items()}
    tasks = {k: functools.partial(o, 'epoch') for k,o in both.items()}
    tasks['bare'] = functools.partial(both['ours'], 'alone')
    for f in tasks.values(): f()
    res = in_turn(tasks, repeats)
    table(['an epoch of a language model', 'batches', 'seconds', 'of the bare loop'], [[k, batches.get(k, batches['ours']), middle(v, digits=2), ratio(v, res['bare'])] for k,v in res.items()])
    lengths = 100,200,400
    written = {n: in_turn({k: functools.partial(o, 'write', n=n) for k,o in both.items()}, repeats) for n in lengths}
    table(['writing words, seconds', *map(str, lengths)], [[k, *(middle(written[n][k], digits=2) for n in lengths)] for k in both])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--imdb', default=find_data('imdb.tgz'), help='a .tgz of reviews in folders of classes')
    p.add_argument('--n', type=int, default=12_500, help='reviews that are prepared')
    p.add_argument('--n-lm', type=int, default=400, help='reviews of the language model')
    p.add_argument('--emb-sz', type=int, default=400)
    p.add_argument('--n-hid', type=int, default=1152)
    p.add_argument('--repeats', type=int, default=3)
    fastai_argument(p)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        df = reviews(args.imdb, args.n)
        all_csv,few_csv,lm_csv = (wrote(df.head(n), Path(tmp), f'{n}.csv') for n in (args.n, args.n//10, args.n_lm))
        made = sides('Reviews', not args.no_fastai, csv=all_csv)
        said(made)
        prepared(made, args.repeats)
        few = sides('Reviews', False, csv=few_csv)['ours']
        few('prepare')
        seconds = in_turn(dict(all=functools.partial(made['ours'], 'batches', n=10), few=functools.partial(few, 'batches', n=10)), args.repeats)
        table(['a batch of 64 x 72 tokens', 'ms'], [[f'of {n:,} reviews', middle(sum(seconds[k], []), 1e3, 2)] for k,n in (('all', args.n), ('few', args.n//10))])
        close(dict(made, few=few))
        made = sides('Reviews', not args.no_fastai, csv=lm_csv)
        compared(made, dict(emb_sz=args.emb_sz, n_hid=args.n_hid, n_layers=3), args.repeats)
        close(made)


if __name__=='__main__': main()
