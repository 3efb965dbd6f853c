"""Exported models of texts from strangers: each is refused at once, in words, and nothing of it runs

`MYLIB_SHOW=1 pytest -s tests/test_strangers_texts.py` prints what each is told, and what it cost.
"""
import base64, copy, hashlib, io, json, zipfile

import pytest
import torch

from mylib.core.testing import synth_texts
from mylib.deploy.load import load_learner
from mylib.text.data import TextDataLoaders
from mylib.text.learner import text_classifier_learner
from mylib.text.static import StaticEmbedding
from mylib.text.tokenizer import SubwordTokenizer
from test_strangers import Forge, refuse_all, zipped
from small_models import model_folder
from watched import needs_linux, warmed


def text_learner(folder, tok=None):
    dls = TextDataLoaders.from_df(synth_texts(80), tok=tok, seed=1, device='cpu', path=folder)
    torch.manual_seed(0)
    return text_classifier_learner(dls, StaticEmbedding(4))


def small_transformer(folder):
    df = synth_texts(80)
    dls = TextDataLoaders.from_df(df, seed=1, device='cpu', path=folder, model=model_folder(folder/'bert', df.text))
    return text_classifier_learner(dls, folder/'bert')


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
        args = d['blocks'][0]['args']
        if 'blocks' not in changes and tok!=self.tok: (args['tok']['args'] if isinstance(args['tok'], dict) else args)['digest'] = sums['tokenizer.json']
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


def foreign_cases(f):
    "The tokenizer of a pre-trained model, in which more steps are possible"
    d = json.loads(f.tok)
    regex = {'type': 'Replace', 'pattern': {'Regex': '(a*)*b'}, 'content': ''}
    grows = {'type': 'Replace', 'pattern': {'String': 'a'}, 'content': 'aa'}
    split = {'type': 'Split', 'pattern': {'Regex': '((a+)+)+$'}, 'behavior': 'Removed', 'invert': True}
    table = base64.b64encode((4).to_bytes(4, 'little')+bytes(4)+b'x'*10_000).decode()
    changes = dict(version=[None, {}], normalizer=[regex, grows, dict(type='Sequence', normalizers=[grows]), dict(type='Sequence', normalizers=[{'type': 'NFKD'}]*100), dict(type='Sequence', normalizers=[dict(type='Sequence', normalizers=[])]),
                   dict(type='Precompiled', precompiled_charsmap=table), dict(type='Precompiled', precompiled_charsmap='AAAA'), dict(type='Precompiled', precompiled_charsmap='*'), dict(type='Prepend', prepend='a'*10**6), {'type': 'Python'}, 3, [], 'NFC', dict(type=['NFC'])],
                   pre_tokenizer=[split, dict(type='Sequence', pretokenizers=[split]), {'type': 'CharDelimiterSplit', 'delimiter': ' '}, {'type': 'Metaspace', 'replacement': 'aa', 'prepend_scheme': 'always', 'split': True}],
                   post_processor=[dict(type='TemplateProcessing', single=[{'Sequence': {'id': 'A', 'type_id': 0}}]*10_000, pair=[], special_tokens={}), dict(type='TemplateProcessing', single=[{'SpecialToken': {'id': 'x', 'type_id': 0}}], pair=[], special_tokens={'x': dict(id='x', ids=[5]*100_000, tokens=['x'])}),
                                   dict(type='BertProcessing', sep=['[SEP]', 10**12], cls=['[CLS]', 2]), dict(type='Sequence', processors=[{'type': 'X'}])],
                   decoder=[regex, {'type': 'CTC', 'pad_token': 'a', 'word_delimiter_token': 'b', 'cleanup': True}], truncation=[dict(max_length=10**12, strategy='LongestFirst', stride=0, direction='Right')],
                   padding=[dict(strategy={'Fixed': 10**12}, direction='Right', pad_to_multiple_of=None, pad_id=0, pad_type_id=0, pad_token='[PAD]')], added_tokens=[3, [dict(id=0, content='')], [dict(d['added_tokens'][0], id=10**12)], [dict(d['added_tokens'][0], id=i, content=f'{i}') for i in range(20_000)]], extra=[1])
    for k,values in changes.items():
        for i,v in enumerate(values): yield f'its {k} {i}', f.engine(**{k: v}), 'do not trust|cannot be used'
    for k,v in dict(type='BPE', dropout=0.5, unk_token=3, vocab=[]).items(): yield f"its model's {k}", f.engine(model={**d['model'], k: v}), 'do not trust|cannot be used'
    yield 'a word more', f.words(lambda o: {**o, 'zzz': len(o)}), 'do not belong together'
    yield 'half of the words', f.words(lambda o: dict(list(o.items())[:len(o)//2])), 'do not belong together|number of padding|cannot be used'
    yield 'a large number', f.words(lambda o: {**o, 'zzz': 2**32-1}), 'cannot be used|do not belong together|do not trust'
    yield 'no special tokens', f.engine(added_tokens=[], model={**d['model'], 'vocab': {'a': 0}}), 'do not belong|padding|cannot be used'
    args = f.d['blocks'][0]['args']['tok']['args']
    for k,values in dict(max_len=[0, -1, 3, 10**9, 10**30, 'a', None, 33], pad_id=[-1, 10**9, 'a', 1.5], engine=[None, 'abc', '/etc/passwd', {'given': 'x'}], digest=['0'*64, 3], file=['/etc/passwd']).items():
        for v in values: yield f'{k}={v!r}', f.block(tok={'part': 'text.FileTokenizer', 'args': {**args, k: v}}), 'cannot be made|Export it again|not in the file|64 bits'
    for v in '/etc/passwd', 'tokenizer.json', 'words', ['words'], {'part': 'text.FileTokenizer'}, {'part': 'text.FileTokenizer', 'args': {}}: yield f'the tokenizer {v!r}', f.block(tok=v), 'tok|engine|no tokenizer|cannot be made'
    for k,v in dict(model='/etc', max_len=8, vocab=['a'], is_lm=True, backwards=True, rules=[]).items(): yield f'the block with {k}', f.block(**{k: v}), 'do not trust|leave it out|cannot be made'


def transformer_cases(f):
    "A pre-trained model"
    args = f.d['model']['args']
    def model(**changes): return f(model={'part': 'text.transformer', 'args': {**args, **changes}})
    def sized(**changes): return model(config={**args['config'], **changes})
    for k,values in dict(kind=['gpt2', 'electra', 'distilbert', None, 3, ['bert'], '../bert', {'part': 'train.softmax'}], n_out=[0, 3, 10**9, None, 2.5], pad_id=[-1, 10**9, 'a', None], sep_id=['a', -1, 1.5], pooling=['max', None, 3], ps=[2, 'a', None], config=[None, 3, [], {}]).items():
        for v in values: yield f'{k}={v!r}', model(**{k: v}), 'model|fit|size|cannot be made'
    for k,values in dict(vocab_size=[10**9, 2**20, 0, 10], hidden_size=[10**9, 0, 33, 'a'], num_hidden_layers=[100, 10**9, 0, 3], num_attention_heads=[0, 3, 10**9], intermediate_size=[10**5, 65], max_position_embeddings=[10**9, 2**17, 16], hidden_act=['os.system', 'swiglu', None, 3], layer_norm_eps=[-1, 'a', 1e300], hidden_dropout_prob=[2], type_vocab_size=[-1, 100],
                         auto_map=[{'AutoModel': 'x--y.Z'}], trust_remote_code=[True], _name_or_path=['/etc'], attn_implementation=['flash'], quantization_config=[{}], pad_token_id=[10**12], is_decoder=[True], torch_dtype=['float16']).items():
        for v in values: yield f'{k}={v!r} in its sizes', sized(**{k: v}), 'made with|no weight|fit|cannot be made'


families = dict(tokenizer=('words', tokenizer_cases), block=('words', block_cases), model=('words', model_cases), foreign=('bert', foreign_cases), transformer=('bert', transformer_cases))
learners = dict(words=text_learner, parts=lambda folder: text_learner(folder, SubwordTokenizer(60)), bert=small_transformer)


@pytest.fixture(scope='module')
def raws(tmp_path_factory): return {k: make(tmp_path_factory.mktemp(k)).export().read_bytes() for k,make in learners.items()}


@pytest.fixture(scope='module')
def box(tmp_path_factory, raws):
    f = Text(raws['words'])
    more = [f.block(rules=[{'part': 'vision.Resize', 'args': {'size': 8}}]), f(model={'part': 'nn.simple_cnn', 'args': {}}), f.block(tok='unigram'), f.block(tok='bpe')]
    bert = Text(raws['bert'])
    more += [bert(model={'part': 'text.transformer', 'args': {**bert.d['model']['args'], 'kind': o}}) for o in ('electra', 'distilbert')]
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
