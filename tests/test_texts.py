"""Texts: a model that was exported predicts the same in a process of its own, and a fit goes on in the middle of an epoch"""
import json, os, subprocess, sys, warnings

import numpy as np
import pandas as pd
import pytest
import torch

from mylib.callback.checkpoint import Checkpoint
from mylib.callback.run import Watcher
from mylib.core.core import UsageError
from mylib.core.testing import synth_texts
from mylib.data.block import CategoryBlock
from mylib.data.datablock import DataBlock
from mylib.data.items import get_text_files, parent_label
from mylib.data.split import RandomSplitter
from mylib.learner.learner import Learner
from mylib.text.block import TextBlock
from mylib.text.data import TextDataLoaders
from mylib.text.learner import text_classifier_learner
from mylib.text.rules import fix_html, lowercase
from mylib.text.static import StaticEmbedding
from mylib.text.tokenizer import SubwordTokenizer, WordTokenizer
from sklearn.feature_extraction.text import CountVectorizer


def frame(n=200, seed=0):
    df = synth_texts(n, seed)
    return df.assign(text=[t*(1+i%5) for i,t in enumerate(df.text)])


def learner(folder, bs=8, **kwargs):
    dls = TextDataLoaders.from_df(frame(), seed=1, device='cpu', bs=bs, path=folder, **kwargs)
    torch.manual_seed(0)
    return text_classifier_learner(dls, StaticEmbedding(8))


ask = """
import json, sys, socket
def no_network(*_args, **_kwargs): raise OSError('no network')
socket.socket.connect = socket.getaddrinfo = no_network
from mylib.deploy.load import load_learner
learn = load_learner(sys.argv[1])
print(json.dumps([learn.predict(t)[2].tolist() for t in json.loads(sys.argv[2])]))
"""
odd_texts = ['A great film', '', ' ', 'x', 'GREAT!!!! &amp; <br />lovely', 'مرحبا 🙂 \u202eabc', 'a\0b', 'no no no no', 'half \ud800', 'xxpad xxpad xxunk', 'word '*5000]


@pytest.mark.parametrize('tok,rules', [(None, None), (SubwordTokenizer(70), None), (SubwordTokenizer(70, 'bpe'), None), (WordTokenizer(), [fix_html, lowercase]), (WordTokenizer(), [])], ids=['words', 'unigram', 'bpe', 'other rules', 'no rules'])
def test_a_fresh_process_predicts_the_same(tok, rules, tmp_path):
    df = frame()
    block = DataBlock((TextBlock(tok, rules, text_cols='text'), CategoryBlock), get_y=lambda r: r['label'])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        dls = block.dataloaders(df, seed=1, bs=16, path=tmp_path, device='cpu')
        learn = text_classifier_learner(dls, StaticEmbedding(8))
        learn.fit(1)
        mine = [learn.predict(t)[2].tolist() for t in odd_texts]
        file = learn.export('m.pkl')
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', ask, str(file), json.dumps(odd_texts)], capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode==0, out.stderr
    assert np.allclose(json.loads(out.stdout), mine, atol=1e-6)


class Stops(Watcher):
    "Raises after some batches, as a crash would"
    def __init__(self, n): self.n = n
    def after_step(self, run):
        if run.step>=self.n: raise InterruptedError


@pytest.mark.parametrize('is_lm', [False, True])
@pytest.mark.parametrize('stop', [3, 25])
def test_a_fit_goes_on_in_the_middle_of_an_epoch(is_lm, stop, tmp_path):
    def make():
        if not is_lm: return learner(tmp_path)
        dls = TextDataLoaders.from_df(frame(), seed=1, device='cpu', bs=8, path=tmp_path, is_lm=True, seq_len=7)
        torch.manual_seed(0)
        return Learner(dls, torch.nn.Sequential(torch.nn.Embedding(dls.c, 4), torch.nn.Linear(4, dls.c)))
    whole = make()
    whole.fit_one_cycle(2)
    with pytest.raises(InterruptedError): make().fit_one_cycle(2, cbs=Stops(stop), checkpoint=Checkpoint('c', every_steps=1))
    again = make()
    again.fit_one_cycle(2, checkpoint='c', resume=True)
    for a,b in zip(whole.model.parameters(), again.model.parameters()): assert torch.equal(a, b)
    assert whole.dls.train.epoch==again.dls.train.epoch==2


def test_predictions_come_in_the_order_of_the_items(tmp_path):
    learn = learner(tmp_path)
    texts = frame(50, 3).text.tolist()
    learn.fit(1) # after which the tokens of the training set are there
    dl = learn.dls.test_dl(texts, raw=True)
    assert dl.order(0)!=list(range(50)) # sorted by length
    preds = learn.get_preds(dl=dl)[0]
    alone = torch.stack([learn.predict(t)[2] for t in texts])
    assert torch.allclose(preds, alone, atol=1e-6)
    assert torch.allclose(torch.cat([o[0] for o in learn.get_preds(dl=dl, stream=True)])[torch.tensor(dl.order(0)).argsort()], alone, atol=1e-6)


def test_inputs_of_different_lengths_are_a_list_in_the_order_of_the_items(tmp_path):
    df = synth_texts(60)
    df.loc[::3, 'text'] += ' A long one, and then some more words.'*3
    dls = TextDataLoaders.from_df(df, path=tmp_path, bs=8, seed=0, device='cpu')
    learn = text_classifier_learner(dls)
    inputs,preds,targs = learn.get_preds(with_input=True)
    pad = dls.blocks[0].pad_id
    assert len(inputs)==len(preds)==len(targs)==12
    for i,x in enumerate(inputs): assert torch.equal(x[x!=pad], dls.valid_ds[i][0])
    assert torch.allclose(preds, learn.get_preds()[0])
    lengths = {len(x) for x in inputs}
    assert len(lengths)>1 # or this test is about nothing


def test_words_are_those_that_scikit_learn_counts():
    texts = frame().text.tolist()
    counts = CountVectorizer(token_pattern=r'\w+').fit(texts)
    block = TextBlock(min_freq=1)
    block.step.setups(texts)
    assert set(counts.vocabulary_)=={o for o in block.vocab[9:] if o.isalpha()}
    many = np.asarray(counts.transform(texts).sum(0))[0]
    names = counts.get_feature_names_out()
    assert sorted(names, key=lambda o: (-many[counts.vocabulary_[o]], o))==[o for o in block.vocab[9:] if o.isalpha()]


def test_a_batch_is_what_the_items_are_one_by_one(tmp_path):
    "From folders and from a frame, whatever the split and the order"
    df = frame(60)
    for i,(t,y) in enumerate(zip(df.text, df.label)):
        (tmp_path/y).mkdir(exist_ok=True)
        (tmp_path/y/f'{i:02}.txt').write_text(t)
    block = DataBlock((TextBlock, CategoryBlock), get_items=get_text_files, get_y=parent_label, splitter=RandomSplitter(0.3, 1))
    dls = block.dataloaders(tmp_path, bs=7, seed=0, device='cpu')
    for dl in dls:
        for idxs,(x,y) in zip(dl.cuts(0), dl.batches(0)):
            for i,row,label in zip(idxs, x, y):
                ids,one = dl.dataset[i]
                assert torch.equal(row[row!=1], ids) and one==label


def test_a_long_text_and_many_equal_ones():
    text = ' '.join(f'longword{i%97}' for i in range(1_200_000)) # more than 10 MB
    df = pd.DataFrame(dict(text=[text]+['short one']*9, label=['a', 'b']*5))
    dls = TextDataLoaders.from_df(df, valid_pct=0.2, seed=2, bs=2, device='cpu')
    assert max(o.dataset.lengths.max() for o in dls)==1_200_001


def test_a_label_in_validation_alone_is_named():
    df = frame(20).assign(is_valid=[False]*10+[True]*10)
    df.loc[15, 'label'] = 'new'
    with pytest.raises(UsageError, match='new'): TextDataLoaders.from_df(df, valid_col='is_valid')


reviews = os.environ.get('MYLIB_IMDB', '')


@pytest.mark.skipif(not reviews, reason='MYLIB_IMDB names no folder of reviews (imdb/train and imdb/test)')
def test_reviews_are_told_apart():
    dls = TextDataLoaders.from_folder(reviews, valid='test', seed=0, device='cpu')
    learn = text_classifier_learner(dls, StaticEmbedding(64))
    learn.fit_one_cycle(4)
    assert learn.validate()[1]<0.13 and dls.train.padding<0.05
