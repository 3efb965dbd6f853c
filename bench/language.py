"""A language model of reviews beside n-grams, and what its encoder gives a classifier with few labels

    python bench/language.py [--imdb FILE.tgz] [--n 5000] [--epochs 3] [--n-labels 1000] [--seeds 3]

Perplexities are of the same held-out tokens with the same vocabulary: those of an AWD-LSTM, of how often each word occurs, and
of interpolated Kneser-Ney n-grams (Chen and Goodman 1999, section 4.1.6; one discount for each length, n1/(n1+2*n2)). Aimed at: lower than the bigram.
Then a classifier learns from the same labels twice, from nothing and from the encoder; accuracies on held-out reviews, mean and deviation over the seeds.
"""
import argparse, statistics, tempfile, time
from pathlib import Path

import numpy as np
import torch

from common import find_data, table
from texts import reviews
from mylib.core.core import set_seed
from mylib.text.awd_lstm import AWD_LSTM
from mylib.text.data import TextDataLoaders
from mylib.text.learner import text_classifier_learner
from mylib.text.write import language_model_learner
from mylib.train.metrics import accuracy


def counted(keys):
    "Different keys, sorted, and how often each occurs"
    return np.unique(keys, return_counts=True)


def found(keys, counts, asked):
    "How often each of `asked` occurs"
    at = np.searchsorted(keys, asked).clip(max=len(keys)-1)
    return np.where(keys[at]==asked, counts[at], 0)


class KneserNey:
    "Interpolated n-grams; those shorter than `n` count in how many places they occur"
    def __init__(self, stream, n, vocab_sz):
        self.n,self.vocab_sz,self.levels = n,vocab_sz,[]
        grams = self.keys(np.lib.stride_tricks.sliding_window_view(stream, n))
        for length in range(n, 0, -1):
            keys,counts = counted(grams)
            ones,twos = (counts==1).sum(),(counts==2).sum()
            contexts,at = np.unique(keys//vocab_sz, return_inverse=True)
            self.levels.append((keys, counts, ones/max(1, ones+2*twos), contexts, np.bincount(at, counts), np.bincount(at)))
            grams = keys % vocab_sz**(length-1) # each longer gram once, without its first word

    def keys(self, grams):
        "One number for each row of words"
        return sum(grams[:,i].astype(np.int64)*self.vocab_sz**(grams.shape[1]-1-i) for i in range(grams.shape[1]))

    def probabilities(self, grams):
        "Of the last word of each row after those before it"
        p = np.full(len(grams), 1/self.vocab_sz)
        for length,(keys,counts,discount,contexts,totals,kinds) in zip(range(1, self.n+1), self.levels[::-1]):
            asked = self.keys(grams[:,-length:])
            before = asked//self.vocab_sz
            total,kind = found(contexts, totals, before),found(contexts, kinds, before)
            own = np.maximum(found(keys, counts, asked)-discount, 0)
            p = np.where(total>0, (own+discount*kind*p)/np.maximum(total, 1), p)
        return p


def n_gram_perplexities(dls):
    "Of the validation batches, by how often words occur, and by pairs and triples of them"
    stream = dls.train.stream(0, np.arange(dls.train.row_len*dls.train.batch_size)).numpy()
    batches = [tuple(map(np.asarray, o)) for o in dls.valid]
    rows = np.concatenate([*(x for x,_ in batches), batches[-1][1][:,-1:]], 1)
    grams = np.lib.stride_tricks.sliding_window_view(rows, 3, axis=1).reshape(-1, 3)
    def perplexity(n): return float(np.exp(-np.log(KneserNey(stream, n, len(dls.blocks[0].vocab)).probabilities(grams[:,3-n:])).mean()))
    return dict(unigram=perplexity(1), bigram=perplexity(2), trigram=perplexity(3))


def classify(df, args, vocab, encoder, seed):
    "Accuracy on the held-out reviews of `df`, from nothing or from an encoder, after the same number of epochs"
    dls = TextDataLoaders.from_df(df, text_col='text', label_col='label', valid_col='is_valid', text_vocab=vocab, bs=32, seed=seed)
    set_seed(seed)
    learn = text_classifier_learner(dls, AWD_LSTM, config=dict(config(args), max_len=216), drop_mult=args.drop_mult, metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        if encoder is None: learn.fit_one_cycle(6, 5e-3)
        else:
            learn.load_encoder(encoder)
            learn.fit_one_cycle(2, 1e-2)
            learn.freeze_to(-2)
            learn.fit_one_cycle(1, slice(2e-3, 1e-2))
            learn.unfreeze()
            learn.fit_one_cycle(3, slice(1e-3, 5e-3))
    return learn.validate()[1]


def config(args): return dict(emb_sz=args.emb_sz, n_hid=args.n_hid, n_layers=args.n_layers)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--imdb', default=find_data('imdb.tgz'), help='a .tgz of reviews in folders of classes')
    p.add_argument('--n', type=int, default=5000, help='reviews of the language model, a tenth of which are held out')
    p.add_argument('--epochs', type=int, default=3)
    p.add_argument('--lr', type=float, default=5e-3)
    p.add_argument('--n-labels', type=int, default=1000, help='reviews with labels to learn from; as many are held out')
    p.add_argument('--seeds', type=int, default=3)
    for name,n in (('emb-sz', 200), ('n-hid', 400), ('n-layers', 2)): p.add_argument(f'--{name}', type=int, default=n)
    p.add_argument('--drop-mult', type=float, default=0.2)
    args = p.parse_args()
    torch.set_num_threads(1)
    df = reviews(args.imdb, args.n+2*args.n_labels)
    dls = TextDataLoaders.from_df(df.head(args.n), text_col='text', is_lm=True, valid_pct=0.1, seed=1, bs=64, seq_len=72)
    rows = [[k, f'{v:.1f}', ''] for k,v in n_gram_perplexities(dls).items()]
    set_seed(0)
    learn = language_model_learner(dls, AWD_LSTM, config(args), drop_mult=args.drop_mult, metrics=[])
    began = time.perf_counter()
    with learn.no_bar(): learn.fit_one_cycle(args.epochs, args.lr)
    took = time.perf_counter()-began
    rows.append([f'AWD-LSTM, {args.epochs} epochs', f'{np.exp(learn.validate()[0]):.1f}', f'{took:.0f}'])
    table([f'{len(dls.train_ds)} reviews, {len(dls.blocks[0].vocab)} words', 'perplexity of held-out tokens', 'seconds'], rows)
    labeled = df.tail(2*args.n_labels).assign(is_valid=np.arange(2*args.n_labels)>=args.n_labels)
    with tempfile.TemporaryDirectory() as tmp:
        learn.path = Path(tmp)
        encoder = learn.save_encoder('encoder')
        res = {k: [classify(labeled, args, dls.blocks[0].vocab, e, seed) for seed in range(args.seeds)] for k,e in (('from nothing', None), ('from the encoder', encoder))}
    table([f'{args.n_labels} labels', 'accuracy'], [[k, f'{statistics.mean(v):.3f} ± {statistics.stdev(v) if len(v)>1 else 0:.3f}'] for k,v in res.items()])


if __name__=='__main__': main()
