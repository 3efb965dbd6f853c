"""Exported models of texts from strangers: each is refused at once, in words, and nothing of it runs

`MYLIB_SHOW=1 pytest -s tests/test_strangers_texts.py` prints what each is told, and what it cost.
"""
import copy, hashlib, io, json, zipfile

import pytest
import torch

from mylib.core.testing import synth_texts
from mylib.deploy.load import load_learner
from mylib.text.data import TextDataLoaders
from mylib.text.learner import text_classifier_learner
from mylib.text.static import StaticEmbedding
from mylib.text.tokenizer import SubwordTokenizer
from test_strangers import Forge, refuse_all, zipped
from watched import needs_linux, warmed


def text_learner(folder, tok=None):
    dls = TextDataLoaders.from_df(synth_texts(80), tok=tok, seed=1, device='cpu', path=folder)
    torch.manual_seed(0)
    return text_classifier_learner(dls, StaticEmbedding(4))


class Text(Forge):
    "Makes bundles of texts"
    def __init__(self, raw):
        super().__init__(raw)
        with zipfile.ZipFile(io.BytesIO(raw)) as z: self.tok = z.read('tokenizer.json')

    def __call__(self, blob=None, tok=None, names=None, **changes):
        "With another tokenizer, whose checksums are right"
        blob,tok = self.blob if blob is None else blob,self.tok if tok is None else tok
        sums = {'tokenizer.json': hashlib.sha256(tok).hexdigest()}
        d = copy.deepcopy({**self.d, 'sha256': hashlib.sha256(blob).hexdigest(), 'members': sums, **changes})
        if 'blocks' not in changes and tok!=self.tok: d['blocks'][0]['args']['digest'] = sums['tokenizer.json']
        more = [('tokenizer.json', tok)] if names is None else [(n, tok) for n in names]
        return zipped(('bundle.json', json.dumps(d)), ('model.safetensors', blob), *more)

    def block(self, **args):
        blocks = copy.deepcopy(self.d['blocks'])
        blocks[0]['args'].update(args)
        return self(blocks=blocks)

    def engine(self, **changes):
        "With other entries of its tokenizer"
        return self(tok=json.dumps({**json.loads(self.tok), **changes}).encode())

    def words(self, change):
        "With another vocabulary"
        d = json.loads(self.tok)
        d['model']['vocab'] = change(d['model']['vocab'])
        return self(tok=json.dumps(d).encode())


def tokenizer_cases(f):
    "The file of the tokenizer"
    d = json.loads(f.tok)
    n = len(d['model']['vocab'])
    yield 'none', f(names=[], members={}), 'not in the file'
    yield 'named, but not there', f(names=[]), 'member|not an exported'
    yield 'not named', f(members={}), 'member'
    yield 'another name', f(names=['words.json']), 'member'
    yield 'a pickle beside it', f(names=['tokenizer.json', 'words.pkl']), 'not an exported model'
    yield 'another checksum', f(members={'tokenizer.json': '0'*64}), 'checksum'
    yield 'not the one that the Block was made with', f.block(digest='0'*64), 'checksum'
    for o in b'', b'{', b'[]', b'3', b'null', b'{}', b'{"a": NaN}', b'{"model": 3}', b'\xff\xfe', b'['*100_000, b'{"a":'*5000, b'{"model":{},"model":{}}':
        yield f'a tokenizer {o[:30]!r} of {len(o)}', f(tok=o), 'do not trust|cannot be read|cannot be used'
    for k,v in dict(version='2.0', truncation={'max_length': 10**12, 'strategy': 'LongestFirst', 'stride': 0}, padding={'strategy': {'Fixed': 10**12}}, added_tokens=[dict(id=0, content='', special=True)],
                    normalizer={'type': 'Replace', 'pattern': {'Regex': '(a*)*b'}, 'content': 'x'*1000}, pre_tokenizer={'type': 'Split', 'pattern': {'Regex': '((a+)+)+$'}, 'behavior': 'Removed', 'invert': True},
                    post_processor={'type': 'TemplateProcessing'}, decoder={'type': 'Fuse'}, extra=3).items():
        yield f'its {k}', f.engine(**{k: v}), 'do not trust'
    for k,v in dict(type='BPE', unk_token='good', max_input_chars_per_word=10).items():
        yield f"its model's {k}", f.engine(model={**d['model'], k: v}), 'do not trust'
    yield 'a word less', f.words(lambda o: dict(list(o.items())[:-1])), 'tokens, but the model|not 0, 1, 2'
    yield 'a word more', f.words(lambda o: {**o, 'zzz': n}), 'tokens, but the model'
    yield 'a number twice', f.words(lambda o: {**o, 'zzz': 0}), 'not 0, 1, 2|tokens, but the model'
    yield 'a number left out', f.words(lambda o: {**o, 'zzz': n+1}), 'not 0, 1, 2'
    yield 'a large number', f.words(lambda o: {**o, 'zzz': 2**32-1}), 'not 0, 1, 2'
    yield 'a negative number', f.words(lambda o: {**o, 'zzz': -1}), 'cannot be used'
    yield 'no unknown', f.words(lambda o: {{'xxunk': 'zzz'}.get(k, k): v for k,v in o.items()}), 'lacks|cannot be used'
    yield 'no padding', f.words(lambda o: {{'xxpad': 'zzz'}.get(k, k): v for k,v in o.items()}), 'lacks'
    for o in [], [1], 'abc', None, 3, {'xxunk': 'a'}, {'xxunk': [0]}: yield f'the words {o!r}', f.words(lambda _, o=o: o), 'cannot be used|lacks|do not trust'


def block_cases(f):
    "What the Block is made with"
    rules = f.d['blocks'][0]['args']['rules']
    for o in 'abc', 3, [3], [None], ['text.lowercase'], [[rules[0]]], [{'part': 'vision.Resize', 'args': {'size': 8}}], [{'part': 'text.TextBlock'}], [{'part': 'data.TransformBlock', 'args': {}}], rules*50:
        yield f'the rules {str(o)[:60]!r} of {len(str(o))}', f.block(rules=o), 'rules|cannot be made'
    yield 'a rule that is none', f.block(rules=[{'part': 'train.softmax'}, *rules]), 'do not fit'
    yield 'rules that are not those of its tokenizer', f.block(rules=rules[:-1]), 'does not write'
    for o in 'spacy', 'unigram', 'bpe', 3, {'part': 'train.softmax'}, ['words']: yield f'the tokenizer {o!r}', f.block(tok=o), '`tok` is|do not trust'
    for o in None, 3, 'abc', {'given': 'other'}, {'given': ['a']}: yield f'the engine {o!r}', f.block(engine=o), 'no tokenizer|of its own|not in the file'
    for o in 'abc', None, 2: yield f'is_lm {o!r}', f.block(is_lm=o), 'is_lm'
    yield 'a language model of classes', f.block(is_lm=True), 'no target but the next token'
    for o in 0, -1, 'a', None: yield f'seq_len {o!r}', f.block(seq_len=o), 'seq_len'
    for o in 0, -1, 'a', [1]: yield f'n_fields {o!r}', f.block(n_fields=o), 'n_fields'
    yield 'twice', f(blocks=[f.d['blocks'][0]]*2), 'but not first'
    yield 'another argument', f.block(trust_remote_code=True), 'cannot be made'


def model_cases(f):
    "The model"
    def model(**args): return f(model={'part': 'text.model', 'args': {**f.d['model']['args'], **args}})
    n = f.d['model']['args']['n_vocab']
    for k,values in dict(arch=['lstm', None, 3, {'part': 'train.softmax'}], n_vocab=[n-1, n+1, 0, -1, 10**9, 'a', None, 2.5], dim=[0, 5, 10**9, 'a'], n_out=[0, 3, 10**9, None], pad_id=[-1, n, 'a', None, 1.], ps=[2, 'a']).items():
        for o in values: yield f'{k}={o!r}', model(**{k: o}), 'model|fit|size'


families = dict(tokenizer=('words', tokenizer_cases), block=('words', block_cases), model=('words', model_cases))
learners = dict(words=text_learner, parts=lambda folder: text_learner(folder, SubwordTokenizer(60)))


@pytest.fixture(scope='module')
def raws(tmp_path_factory): return {k: make(tmp_path_factory.mktemp(k)).export().read_bytes() for k,make in learners.items()}


@pytest.fixture(scope='module')
def box(tmp_path_factory, raws):
    f = Text(raws['words'])
    more = [f.block(rules=[{'part': 'vision.Resize', 'args': {'size': 8}}]), f(model={'part': 'nn.simple_cnn', 'args': {}}), f.block(tok='unigram'), f.block(tok='bpe')]
    yield from warmed(tmp_path_factory.mktemp('home'), [*raws.values(), *more])


@needs_linux
@pytest.mark.parametrize('family', families)
def test_refused(family, raws, box, tmp_path):
    kind,cases = families[family]
    refuse_all(family, list(cases(Text(raws[kind]))), box, tmp_path)


@pytest.mark.parametrize('kind', learners)
def test_good_ones_are_loaded(kind, raws, tmp_path):
    (tmp_path/'model.mylib').write_bytes(raws[kind])
    assert len(load_learner(tmp_path/'model.mylib').predict('A great film')[2])==2
