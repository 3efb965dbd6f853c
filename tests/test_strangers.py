"""Bundles from strangers: each is refused at once, in words, and nothing of it runs

`MYLIB_SHOW=1 pytest -s tests/test_strangers.py` prints what each is told, and what it cost.
"""
import copy, hashlib, io, json, os, pickle, random, re, struct, warnings, zipfile, zlib

import pytest
import torch
from safetensors.torch import load, save

from mylib.core.testing import synth_images
from mylib.deploy.load import load_learner
from mylib.learner.learner import Learner
from mylib.nn.blocks import simple_cnn
from mylib.vision.data import ImageDataLoaders
from mylib.vision.transform import Resize
from watched import batched, needs_linux, warmed

most_calls,most_mb = 6_000_000,200 # calls of functions: a description of 300,000 values, the most that are read, takes 5 million


def small_learner(folder):
    path = synth_images(folder/'shapes', n_per_class=4, size=16)
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.5, seed=1, bs=2, item_tfms=Resize(16), device='cpu')
    torch.manual_seed(0)
    return Learner(dls, simple_cnn([3, 4, 2]), path=folder)


def parts_of(raw):
    "Description and weights of a bundle"
    with zipfile.ZipFile(io.BytesIO(raw)) as z: return json.loads(z.read('bundle.json')),z.read('model.safetensors')


def zipped(*members, **kwargs):
    "A zip of (name, content, attributes of its ZipInfo)"
    f = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(f, 'w', **kwargs) as z:
        warnings.simplefilter('ignore') # of names that stand twice
        for name,content,*attrs in members:
            info = zipfile.ZipInfo(name)
            for k,v in (attrs[0] if attrs else {}).items(): setattr(info, k, v)
            z.writestr(info, content)
    return f.getvalue()


class Pickled:
    "Runs code when it is unpickled"
    def __reduce__(self): return os.system, ('touch owned',)


def of_header(header, data=b'\0'*64):
    "A safetensors file with that header"
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(header))+header+data


class Forge:
    "Makes bundles that are like `raw` but for what is said"
    def __init__(self, raw): self.raw,(self.d,self.blob) = raw,parts_of(raw)

    def __call__(self, blob=None, text=None, **changes):
        blob = self.blob if blob is None else blob
        d = {**self.d, 'sha256': hashlib.sha256(blob).hexdigest(), **changes}
        return zipped(('bundle.json', json.dumps(d) if text is None else text), ('model.safetensors', blob))

    def model(self, name='nn.simple_cnn', **args): return self(model={'part': name, 'args': {**(self.d['model']['args'] if name=='nn.simple_cnn' else {}), **args}})
    def timm(self, **arch_args): return self.model('vision.model', arch='timm.resnet10t', n_out=2, arch_args=arch_args)
    def weights(self, **changes): return self(blob=save({k: v for k,v in {**load(self.blob), **changes}.items() if v is not None}))
    def header(self, change):
        n = int.from_bytes(self.blob[:8], 'little')
        header = json.loads(self.blob[8:8+n])
        return self(blob=of_header(change(header) or header, self.blob[8+n:]))

    def patched(self, old, new, count=-1):
        assert old in self.raw and len(old)==len(new)
        return self.raw.replace(old, new, count)

    def central(self, offset, value, fmt='<H', which=b'bundle.json'):
        "A field of the entry of `which` in the zip's table"
        raw = bytearray(self.raw)
        at = raw.rfind(which)-46
        assert raw[at:at+4]==b'PK\1\2'
        struct.pack_into(fmt, raw, at+offset, value)
        return bytes(raw)


def zip_cases(f):
    "The file as a zip"
    pkl,b,w = pickle.dumps(Pickled()),json.dumps(f.d),f.blob
    both = ('bundle.json', b),('model.safetensors', w)
    torch.save({'a': torch.ones(2)}, saved := io.BytesIO())
    yield 'empty file', b'', 'its end is missing'
    yield 'a pickle', pkl, 'its end is missing'
    yield 'a torch.save', saved.getvalue(), 'not an exported model'
    yield 'text', b'hello'*100, 'its end is missing'
    yield 'zeros', bytes(10_000), 'its end is missing'
    yield 'a page of a website', b'<!DOCTYPE html><html>404</html>', 'its end is missing'
    yield 'pickle as the description', zipped(('bundle.json', pkl), both[1]), 'the description cannot be read'
    yield 'pickle as the weights', f(blob=pkl), 'the header of the weights has'
    yield 'pickle named data.pkl', zipped(*both, ('data.pkl', pkl)), 'not an exported model'
    yield 'pickle instead of weights', zipped(both[0], ('model.pkl', pkl)), 'not an exported model'
    yield 'pickle named model.pth', zipped(*both, ('model.pth', pkl)), 'not an exported model'
    yield 'code beside it', zipped(*both, ('__init__.py', 'import os')), 'not an exported model'
    yield 'no members', zipped(), 'not an exported model'
    yield 'no description', zipped(both[1]), 'not an exported model'
    yield 'no weights', zipped(both[0]), 'not an exported model'
    yield 'description twice', zipped(both[0], *both), 'not an exported model'
    yield 'weights twice', zipped(*both, both[1]), 'not an exported model'
    yield 'two descriptions', zipped(both[0], both[0]), 'not an exported model'
    for name in '../bundle.json','/bundle.json','..\\bundle.json','C:\\bundle.json','./bundle.json','BUNDLE.JSON','bundle.json/','bundle.json\0.txt','bundlé.json',' bundle.json','a/bundle.json':
        yield f'a member {name!r}', zipped((name.replace('\0', '_'), b), both[1]).replace(b'json_.txt', b'json\0.txt'), 'not a'
    yield 'a member with a long name', zipped(('b'*60_000, b), both[1]), 'a zip of many members'
    yield 'a link', zipped(('bundle.json', '/etc/passwd', dict(external_attr=0o120777<<16)), both[1]), 'the description cannot be read'
    yield 'compressed', zipped(*((*o, dict(compress_type=zipfile.ZIP_DEFLATED)) for o in both)), 'is compressed'
    yield 'a bomb', zipped(both[0], ('model.safetensors', bytes(300*2**20), dict(compress_type=zipfile.ZIP_DEFLATED))), 'is compressed'
    yield 'a bomb of xz', zipped(('bundle.json', b' '*2**26, dict(compress_type=zipfile.ZIP_LZMA)), both[1]), 'is compressed'
    yield 'a bomb in a bomb', zipped(both[0], ('model.safetensors', zipped(('a', bytes(2**26), dict(compress_type=zipfile.ZIP_DEFLATED))))), 'the header of the weights has'
    yield 'an unknown compression', f.central(10, 99), 'is compressed'
    yield 'encrypted', f.central(8, 1), 'is compressed or encrypted'
    yield 'strongly encrypted', f.central(8, 0x41), 'encrypted'
    yield 'sizes that differ', f.central(20, 7, '<L'), 'is compressed'
    yield 'a size of 4 GB', f.central(24, 2**32-2, '<L'), 'is compressed'
    yield 'both sizes of 4 GB', f.central(20, (2**32-2)*(2**32+1), '<Q'), 'beside its members'
    yield 'an offset beyond the end', f.central(42, 2**31, '<L'), 'not a whole exported model|some before'
    yield 'an offset into the other', f.central(42, 60, '<L', b'model.safetensors'), 'not a whole exported model'
    yield 'another size in the local header', f.raw.replace(struct.pack('<L', len(w)), struct.pack('<L', len(w)+5), 1), 'not a whole exported model|beside'
    yield 'another name in the local header', f.raw.replace(b'bundle.json', b'bundle.txt_', 1), 'not a whole exported model'
    yield 'a wrong CRC', f.central(16, 12345, '<L'), 'differs from the table'
    yield 'a byte of the weights', f.raw.replace(w[-8:], b'notthese'), 'Bad CRC|checksum'
    yield 'zip64 without a size', f.central(20, 2**64-1, '<Q'), 'not a whole exported model|beside'
    yield 'a script before it', b'#!/bin/sh\ntouch owned\n'+f.raw, 'some before them'
    yield 'a zip before it', f.raw+f.raw, 'beside its members|some before'
    yield 'a program after it', f.raw+b'MZ'*50, 'its end is missing'
    yield 'a comment', f.raw[:-2]+struct.pack('<H', 30)+b'GIF89a'*5, 'its end is missing'
    yield 'two megabytes between the members', f.raw[:100]+bytes(2**21)+f.raw[100:], 'not a whole exported model|beside'
    yield 'a table that lies about its length', f.raw[:-10]+struct.pack('<L', 10**8)+f.raw[-6:], 'a zip of many members'
    yield 'a table that begins elsewhere', f.raw[:-6]+struct.pack('<L', 2**31)+f.raw[-2:], 'not a whole exported model|some before'
    end = f.raw[-22:]
    yield 'zip64 that lies', f.raw[:-22]+struct.pack('<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, 2, 2, 2**40, 0)+struct.pack('<4sLQL', b'PK\6\7', 0, len(f.raw)-22, 1)+end, 'a zip of many members'
    yield 'zip64 that points elsewhere', f.raw[:-22]+bytes(56)+struct.pack('<4sLQL', b'PK\6\7', 0, 5, 1)+end, 'not where it should be'
    table = struct.pack('<4s6H3L5H2L', b'PK\1\2', 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)+b'a'
    yield 'a table of 500,000 members', table*500_000+struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 2, 2, len(table)*500_000, 0, 0), 'a zip of many members'


def json_cases(f):
    "The description as JSON"
    text = lambda o: f(text=o)
    yield 'not UTF-8', text(b'{"format": "\xff\xfe"}'), 'UnicodeDecodeError'
    yield 'UTF-16', text(json.dumps(f.d).encode('utf-16')), 'cannot be read'
    yield 'half a description', text(json.dumps(f.d)[:300]), 'JSONDecodeError'
    yield 'more after it', text(json.dumps(f.d)+'{}'), 'Extra data'
    yield 'no text', text(''), 'cannot be read'
    yield 'null', text('null'), 'is a NoneType'
    yield 'a list', text('[]'), 'is a list'
    yield 'a number', text('1'), 'is a int'
    yield 'a list of itself', text(f'[{json.dumps(f.d)}]'), 'is a list'
    yield 'NaN', text(json.dumps({**f.d, 'n_inp': float('nan')})), 'NaN is not JSON'
    yield 'Infinity', text(json.dumps({**f.d, 'n_inp': float('inf')})), 'Infinity is not JSON'
    yield '1e400', text('{"format": "mylib bundle", "version": 1e400}'), '1e400 is too large'
    yield 'a number of 400 digits', text('{"version": 1'+'0'*400+'}'), 'more than 64 bits'
    yield 'a number of a million digits', text('{"version": '+'1'*10**6+'}'), 'cannot be read'
    yield '100,000 lists in lists', text('['*100_000), 'RecursionError'
    yield '100,000 dicts in dicts', text('{"a":'*100_000), 'RecursionError'
    yield '900 lists in lists', text('{"a":'+'['*900+']'*900+'}'), 'nested more than 20 deep'
    yield 'a million empty lists', text('{"a":['+'[],'*10**6+'[]]}'), 'more than 300,000 values'
    yield 'a million empty dicts', text(json.dumps({**f.d, 'versions': []})[:-1]+',"blocks2":['+'{},'*10**6+'{}]}'), 'more than 300,000 values'
    yield 'a name twice', text('{"format": "mylib bundle", "format": "mylib bundle"}'), 'stands twice'
    yield '299,000 empty lists', text('{"a":['+'[],'*299_000+'[]]}'), 'does not say'
    yield '299,000 categories', f(blocks=[f.d['blocks'][0], {'part': 'data.CategoryBlock', 'args': {'vocab': [str(i) for i in range(299_000)]}}], batch_tfms=[3]), 'cannot be called'
    yield 'a text of a megabyte', f(format='a'*10**6), '1,000 are the most'
    yield 'a name of a megabyte', f(**{'a'*10**6: 1}), '1,000 are the most'
    yield 'five megabytes', f(left_out=['a'*900]*6000), '4,194,304 are the most'
    yield 'another format', f(format='torch'), 'does not say that it is'
    yield 'a newer format', f(version=3), 'Update the library'
    yield 'a format of the future', f(version=10**9), 'Update the library'
    yield 'an older format', f(version=0), 'Export the model again with this version'
    yield 'a format that is text', f(version='1'), 'Export the model again with this version'
    yield 'a format that is true', f(version=True), '`version` is bool'
    yield 'a wrong checksum', f(sha256='0'*64), 'checksum differs'
    yield 'no checksum', f(sha256=None), '`sha256` is NoneType'
    yield 'an unknown field', f(relax=True), "has 'relax'"
    yield 'a field for code', f(code='import os'), "has 'code'"
    for k in 'n_inp','model','blocks','item_tfms','batch_tfms','activation','decoder','training':
        for v in None,'x',3.5,True,[],{}:
            if not isinstance(v, type(f.d[k])) or type(v) is bool: yield f'{k} is {v!r}', f(**{k: v}), f'`{k}` is '
    for n in 0,-1,3,10**18: yield f'n_inp of {n}', f(n_inp=n), '`n_inp` is'


def part_cases(f):
    "What the description asks for"
    for name in 'os.system','__import__','builtins.eval','builtins.exec','subprocess.Popen','torch.load','torch.hub.load','timm.create_model','evil','evil.run','mylib.deploy.load.load_learner', \
                'vision.Image','data.open','','.','..','vision.','vision.__class__','vision.Resize.__init__','../../evil','/etc/passwd','file:///etc/passwd','https://example.com/x.py', 'vision.Resize\0':
        yield f'the part {name!r}', f(model={'part': name, 'args': {'command': 'touch owned'}}), 'the file names a part|changes how text is shown'
        yield f'the step {name!r}', f(item_tfms=[{'part': name}]), 'the file names a part|changes how text is shown'
    for name in None,3,['vision.Resize'],{'part': 'vision.Resize'},True: yield f'a part named {name!r}', f(item_tfms=[{'part': name}]), 'the file names a part'
    for args in None,'x',3,[3],{'sise': 3},{'size': None},{'size': 'a'},{'size': []},{'size': 0},{'size': -5},{'size': 1.5},{'self': 1, 'size': 2},{'size': 16, 'method': 'os.system'},{'size': 16, 'resamples': 'ab'}:
        yield f'Resize of {args!r}', f(item_tfms=[{'part': 'vision.Resize', 'args': args}]), "'vision.Resize'"
    for size in 10**9,[10**5,10**5],[1,10**8],4097,2**63-1: yield f'pictures of {size}', f(item_tfms=[{'part': 'vision.Resize', 'args': {'size': size}}]), 'are the most'
    resize = lambda size: {'part': 'vision.Resize', 'args': {'size': size}}
    yield '200 steps of 1,000 pixels', f(item_tfms=[resize(1000)]*200), 'has .* steps, but 50 are the most'
    yield '60 steps without a size', f(batch_tfms=[{'part': 'vision.Augment', 'args': {}}]*60), 'has .* steps, but 50 are the most'
    yield 'steps in Blocks and out', f(item_tfms=[resize(8)]*20, batch_tfms=[{'part': 'vision.Augment', 'args': {}}]*20, blocks=[{'part': 'data.TransformBlock', 'args': {'type_tfms': [resize(8)]*20}}, f.d['blocks'][1]]), 'has .* steps, but 50 are the most'
    yield '20 steps of 4,000 pixels', f(item_tfms=[resize(4000)]*20), 'pixels in all, but 16,777,216 are the most'
    yield '45 steps of 700 pixels', f(item_tfms=[resize(700)]*45), 'pixels in all, but 16,777,216 are the most'
    yield 'a crop of a billion', f(item_tfms=[{'part': 'vision.CropPad', 'args': {'size': 10**9}}]), 'are the most'
    yield 'a random crop of a billion', f(item_tfms=[{'part': 'vision.RandomResizedCrop', 'args': {'size': 10**9}}]), 'are the most'
    yield 'augmentation to a billion', f(batch_tfms=[{'part': 'vision.Augment', 'args': {'size': 10**9}}]), 'are the most'
    yield 'steps of a Block of a billion', f(blocks=[{'part': 'data.TransformBlock', 'args': {'type_tfms': [{'part': 'vision.Resize', 'args': {'size': 10**9}}]}}, f.d['blocks'][1]]), 'are the most'
    for where in 'item_tfms','batch_tfms':
        yield f'a model in {where}', f(**{where: [{'part': 'vision.model', 'args': {'arch': 'timm.vit_giant_patch14_224', 'n_out': 10**6}}]}), 'where none belongs'
        yield f'a number in {where}', f(**{where: [3]}), 'cannot be called'
        yield f'a class in {where}', f(**{where: [{'part': 'vision.RandomResizedCrop'}]}), 'cannot be called'
        yield f'a list in {where}', f(**{where: [[]]}), 'cannot be called'
    for where in 'activation','decoder':
        yield f'a model as {where}', f(**{where: {'part': 'nn.simple_cnn', 'args': {'filters': [4096]*900}}}), 'where none belongs'
        yield f'data as {where}', f(**{where: {'a': 1}}), 'cannot be called'
        yield f'Resize as {where}', f(**{where: {'part': 'vision.Resize', 'args': {'size': 3}}}), 'do not fit each other|cannot be called'
    yield 'a model as a metric', f(training={'metrics': [{'part': 'nn.small_resnet', 'args': {'widths': [4000]*900}}]}), 'where none belongs'
    yield 'a number as a metric', f(training={'metrics': [3]}), '`metrics` is'
    yield 'a class as a metric', f(training={'metrics': [{'part': 'train.FBeta'}]}), 'cannot be created without arguments'
    yield 'text as the loss', f(training={'loss_func': 'os.system'}), '`loss_func` is'
    yield '2,000 parts', f(item_tfms=[{'part': 'vision.Resize', 'args': {'size': 16}}]*2000), 'more than 1,000 parts'
    yield 'a part in a part, 30 times', f(item_tfms=[deep('vision.OpenImage', 30)]), 'nested'
    yield 'both args and partial', f(activation={'part': 'train.softmax', 'args': {}, 'partial': {}}), 'Only `part`'
    yield 'a part with more', f(activation={'part': 'train.softmax', 'call': 'os.system'}), 'Only `part`'
    yield 'something given', f(item_tfms=[{'given': 'os.system'}]), "parts={'os.system': it}"
    yield 'a list given', f(item_tfms=[{'given': []}]), 'parts='
    yield 'a given model', f(model={'given': 'model'}), "parts={'model': it}"
    yield 'blocks that are none', f(blocks=[{'part': 'train.softmax'}]*2), 'no Blocks'
    yield 'blocks of text', f(blocks=['vision.ImageBlock']*2), 'no Blocks'
    yield 'no blocks', f(blocks=[]), '`n_inp` is'
    yield 'pictures of another kind', f(blocks=[{'part': 'vision.ImageBlock', 'args': {'cls': {'part': 'vision.Resize'}}}, f.d['blocks'][1]]), "'vision.ImageBlock'"
    yield 'pictures in grey', f(blocks=[{'part': 'vision.ImageBlock', 'args': {'cls': {'part': 'vision.PILImageBW'}}}, f.d['blocks'][1]]), 'do not fit each other'
    for vocab,match in (['one'], 'its target has 1'),([], 'cannot be predicted|its target has 0'),(None, 'do not fit each other'),(3, "'data.CategoryBlock'"),([[1], [2]], "'data.CategoryBlock'"),([None, None, None], 'do not fit|its target has 0'):
        yield f'the categories {vocab!r}', f(blocks=[f.d['blocks'][0], {'part': 'data.CategoryBlock', 'args': {'vocab': vocab}}]), match
    yield '100 million categories', f(text='{"vocab": ["'+'a","'*(100*2**20//4)+'a"]}'), '4,194,304 are the most'
    yield 'a step that divides by zero', f(item_tfms=[{'part': 'vision.RandomResizedCrop', 'args': {'size': 16, 'val_xtra': -1}}]), 'do not fit each other'
    yield 'a filter that PIL has not', f(item_tfms=[{'part': 'vision.Resize', 'args': {'size': 16, 'resamples': [99, 99]}}]), 'do not fit each other'
    yield 'means of two channels', f(batch_tfms=[*f.d['batch_tfms'], {'part': 'vision.Normalize', 'args': {'mean': [0.5]*2, 'std': [1.]*2}}]), 'do not fit each other'


def deep(name, n):
    d = {'part': name}
    for _ in range(n): d = {'part': name, 'args': {'cls': d}}
    return d


def model_cases(f):
    "The model that it asks for, and its weights"
    for k,v in dict(pretrained=True, checkpoint_path='/etc/passwd', pretrained_cfg={'file': '/etc/passwd'}, cache_dir='/tmp/x', pretrained_cfg_overlay={'url': 'https://example.com'},
                    features_only=True, scriptable=True, num_classes=10**9, in_chans=10**9, global_pool='', pretrained_strict=False).items():
        yield f'timm with {k}', f.timm(**{k: v}), f'`arch_args` has `{k}`|a size of 1000000000'
        yield f'a model with {k}', f.model('vision.model', arch='timm.resnet10t', n_out=2, **{k: v}), f"unexpected keyword argument '{k}'|a size of 1000000000"
    for v in 'a',None,{'a': 1},True: yield f'img_size of {v!r}', f.model('vision.model', arch='timm.vit_tiny_patch16_224', n_out=2, arch_args={'img_size': v}), 'arch_args|cannot be made|do not fit'
    yield 'img_size of a billion', f.model('vision.model', arch='timm.vit_tiny_patch16_224', n_out=2, arch_args={'img_size': 10**9}), 'a size of 1000000000'
    yield 'img_size of 4096', f.model('vision.model', arch='timm.swin_tiny_patch4_window7_224', n_out=2, arch_args={'img_size': 4096}), 'do not fit'
    for arch in 'os.system','hf-hub:evil/model','hf_hub:evil/model','local-dir:/tmp/evil','timm.hf-hub:evil/model','timm.../../evil','/etc/passwd','torchvision.get_model','torchvision.__dict__','timm.resnet10t.evil','timm.','torchvision.','.', \
                'https://example.com/x', 'a'*999,'*','timm.resnet*','timm.[a-z]{99}',None,3,['timm.resnet10t'],{'a': 1}:
        yield f'the architecture {str(arch)[:40]!r}', f.model('vision.model', arch=arch, n_out=2), 'has no model|`arch` is|has no weights'
    yield 'a part as architecture', f.model('vision.model', arch={'part': 'vision.Resize'}, n_out=2), 'plain data'
    yield 'another architecture', f.model('vision.model', arch='timm.resnet10t', n_out=2), 'do not fit'
    yield 'a very large architecture', f.model('vision.model', arch='timm.vit_giant_patch14_224', n_out=2), 'do not fit'
    yield 'an architecture of many layers', f.model('vision.model', arch='timm.resnest269e', n_out=2), 'do not fit'
    yield 'an architecture that needs numbers', f.model('vision.model', arch='torchvision.regnet_y_128gf', n_out=2, lin_ftrs=[4096]*199), 'do not fit'
    yield 'heads of 100,000 layers', f.model('vision.model', arch='timm.resnet10t', n_out=2, lin_ftrs=[8]*10**5), '200 are the most'
    for v in 10**9,10**18,-10**9: yield f'{v} channels', f.model(filters=[3, v, 2]), f'a size of {v}'
    yield '2**62 channels', f.model(filters=[3, 2**62, 2]), 'a size of'
    yield '4,000 channels', f.model(filters=[3, 4000, 2]), 'do not fit'
    yield 'no channels', f.model(filters=[3, 0, 2]), 'do not fit|cannot be made'
    yield 'minus one channel', f.model(filters=[3, -1, 2]), 'cannot be made|do not fit'
    yield 'channels of text', f.model(filters='abc'), 'cannot be made|entries for'
    yield 'no filters', f.model(filters=[], kernel_szs=[], strides=[]), 'cannot be made|do not fit'
    yield '100,000 layers', f.model(filters=[3]*10**5, kernel_szs=None, strides=None), '200 are the most'
    yield '200 layers', f.model(filters=[3]*200, kernel_szs=None, strides=None), 'do not fit'
    yield 'kernels of a billion', f.model(kernel_szs=[10**9, 3]), 'a size of'
    yield 'kernels of 4,000', f.model(kernel_szs=[4000, 4000]), 'do not fit'
    yield 'strides of zero', f.model(strides=[0, 0]), 'do not fit each other|cannot be made'
    yield 'strides of minus one', f.model(strides=[-1, 2]), 'do not fit each other|cannot be made'
    yield 'strides of a billion', f.model(strides=[10**9, 2]), 'a size of'
    yield 'strides of text', f.model(strides=['a', 'b']), 'cannot be made|do not fit'
    def wide(n, side): # 100 kB of weights, and gigabytes at each prediction
        net = simple_cnn([3, n, 2], kernel_szs=[3, 3], strides=[1, 1])
        resize = {'part': 'vision.Resize', 'args': {'size': side}}
        return f(blob=save({k: v.contiguous() for k,v in net.state_dict().items()}), model={'part': 'nn.simple_cnn', 'args': net.part_args}, item_tfms=[resize, *f.d['item_tfms'][1:]])
    yield 'a wide layer on a large picture', wide(900, 2048), 'an activation of 14.1 GB, but 2 GB are the most'
    yield 'a narrow layer on a very large picture', wide(40, 4096), 'an activation of 2.5 GB, but 2 GB are the most'
    yield 'a function as model', f(model={'part': 'train.softmax'}), 'which is no model'
    yield 'a loss as model', f(model={'part': 'train.CrossEntropyLossFlat', 'args': {}}), 'which is no model|do not fit'
    yield 'plain data as model', f(model={'a': 1}), 'which is no model'
    yield 'a partial as model', f(model={**{k: v for k,v in f.d['model'].items() if k!='args'}, 'partial': {}}), 'which is no model'
    first = next(k for k,v in load(f.blob).items() if v.ndim==4)
    w = load(f.blob)[first]
    yield 'a weight missing', f.weights(**{first: None}), 'missing: '
    yield 'all weights missing', f(blob=save({})), 'missing: '
    yield 'a weight too many', f.weights(evil=torch.ones(3)), 'unknown: evil'
    yield 'a weight with a long name', f.weights(**{'e'*900: torch.ones(3)}), 'unknown: e'
    yield 'a weight of another shape', f.weights(**{first: torch.ones(3)}), 'of another shape'
    yield 'a weight transposed', f.weights(**{first: w.transpose(0, 1).contiguous()}), 'of another shape'
    yield 'a weight of whole numbers', f.weights(**{first: w.to(torch.int64)}), 'of another type'
    yield 'a weight of truths', f.weights(**{first: w>0}), 'of another type'
    yield 'a count of fractions', f.weights(**{k: v.float() for k,v in load(f.blob).items() if v.dtype==torch.int64}), 'of another type'
    yield 'a million weights', f(blob=of_header({str(i): {'dtype': 'U8', 'shape': [], 'data_offsets': [0, 1]} for i in range(20_000)})), '10,000 are the most'


def safetensors_cases(f):
    "The file of the weights"
    def field(k, v):
        def _change(header): next(o for o in header.values() if o.get('dtype')=='F32')[k] = v
        return _change
    def shift(by):
        def _change(header):
            for o in header.values():
                if 'data_offsets' in o: o['data_offsets'] = [n+by for n in o['data_offsets']]
        return _change
    def same(header):
        names = [k for k in header if k!='__metadata__']
        for k in names: header[k]['data_offsets'] = [0, header[k]['data_offsets'][1]-header[k]['data_offsets'][0]]
    for n in 0,1,7,8: yield f'weights of {n} bytes', f(blob=bytes(n)), 'cannot be read'
    yield 'a header of 2**63 bytes', f(blob=struct.pack('<Q', 2**63)+f.blob[8:]), 'the header of the weights has'
    yield 'a header of 90 MB', f(blob=struct.pack('<Q', 90*2**20)+f.blob[8:]), 'the header of the weights has'
    yield 'a header longer than the file', f(blob=struct.pack('<Q', 10**6)+f.blob[8:]), 'cannot be read'
    yield 'a header that is cut', f(blob=struct.pack('<Q', 20)+f.blob[8:]), 'cannot be read'
    yield 'a header that is none', f(blob=of_header(b'hello')), 'cannot be read'
    yield 'a header that is a list', f(blob=of_header(b'[]')), 'is a list'
    yield 'a header with a name twice', f(blob=of_header(b'{"a": {}, "a": {}}')), 'stands twice'
    yield 'a header 100,000 deep', f(blob=of_header(b'{"a":'*100_000)), 'RecursionError'
    yield 'a header with metadata of a megabyte', f.header(lambda h: {**h, '__metadata__': {'a': 'b'*10**6}}), '1,000 are the most'
    yield 'a weight that is text', f(blob=of_header({'a': 'b'})), 'the weights cannot be read'
    for k,v in ('dtype', 'F99'),('dtype', None),('dtype', ['F32']),('dtype', 'C64'),('shape', None),('shape', 'ab'),('shape', [-1]),('shape', [2**62, 2]),('shape', [1.5]),('shape', [True]),('shape', ['a']),('shape', [1]*100),('shape', {}):
        yield f'a {k} of {str(v)[:20]}', f.header(field(k, v)), 'the weights cannot be read|do not fit'
    yield 'a shape of 2**47', f.header(field('shape', [2**47])), 'do not fit'
    yield 'a shape with a zero', f.header(field('shape', [0, 2**60])), 'do not fit|cannot be read'
    for v in None,[],[0],[0, 1, 2],[5, 0],[-8, 0],[0, 2**63-1],[0.5, 2],['a', 'b'],{}: yield f'offsets of {v}', f.header(field('data_offsets', v)), 'not a whole exported model'
    yield 'offsets beyond the end', f.header(shift(10**6)), 'not a whole exported model'
    yield 'offsets with a gap', f.header(shift(4)), 'not a whole exported model'
    yield 'offsets that overlap', f.header(same), 'not a whole exported model'
    yield 'another type of the same size', f.header(field('dtype', 'I32')), 'of another type'
    yield 'a type of half the size', f.header(field('dtype', 'F16')), 'not a whole exported model'
    yield 'a byte missing at the end', f(blob=f.blob[:-1]), 'not a whole exported model'
    yield 'bytes after the end', f(blob=f.blob+b'MZ'*50), 'not a whole exported model'


def refuse_all(family, cases, box, folder):
    "Load what each of `cases` made: (name, bundle, what its message says)"
    files,bad,peaks = [folder/f'model{i}.mylib' for i in range(20)],[],[]
    assert len({name for name,*_ in cases})==len(cases)
    told = []
    for some in batched(cases, len(files)):
        for file,(_,content,_) in zip(files, some): file.write_bytes(content)
        told += box.many('load', [[str(file)] for file,_ in zip(files, some)])
        assert {*os.listdir(folder)}=={o.name for o in files[:len(cases)]}
    for i,((name,_,match),res) in enumerate(zip(cases, told, strict=True)):
        file = files[i%len(files)]
        peaks.append((res['calls'], res['mb']))
        if os.environ.get('MYLIB_SHOW'): print(f"{family}: {name} | {res['calls']:,} calls | {res['mb']:.0f} MB | {res['error']}: {res['message'][:300].replace(str(file), 'FILE')}")
        right = res['error']=='UsageError' and re.search(match, res['message'], re.I) and len(res['message'])<1500 and '. ' in res['message']
        if not right or res['events'] or res['calls']>most_calls or res['mb']>most_mb: bad.append((name, match, {**res, 'message': res['message'][:1500]}))
    print(f"{family}: {len(cases)} refused, at most {max(o[0] for o in peaks):,} calls and {max(o[1] for o in peaks):.0f} MB")
    assert not bad, '\n'.join(map(str, bad))


families = dict(zip=zip_cases, json=json_cases, part=part_cases, model=model_cases, safetensors=safetensors_cases)


@pytest.fixture(scope='module')
def raw(tmp_path_factory): return small_learner(tmp_path_factory.mktemp('good')).export().read_bytes()


@pytest.fixture(scope='module')
def box(tmp_path_factory, raw):
    home = tmp_path_factory.mktemp('home')
    (home/'evil.py').write_text('open("owned", "w")')
    f,augment = Forge(raw),{'part': 'vision.Augment', 'args': {}}
    yield from warmed(home, [raw,f(batch_tfms=[augment]),f(training={'metrics': [{'part': 'train.F1Score', 'args': {}}]}),f.timm(pretrained=1),f.model('vision.model', arch='torchvision.regnet_y_400mf', n_out=2),f.model('vision.model', arch='timm.resnet10t', n_out=2)])


@needs_linux
def test_the_watch_sees(box, raw, tmp_path):
    "What the other tests say never happens"
    (tmp_path/'model.mylib').write_bytes(raw)
    good = box('predict', str(tmp_path/'model.mylib'))
    assert good['result'] in ('circle', 'square') and good['mb']<most_mb and not good['events']
    bad = box('misbehave', str(tmp_path))
    assert bad['mb']>=300 and bad['calls']>=most_calls
    missed = [o for o in ('open', 'import', 'socket', 'pickle.find_class', 'os.system', 'exec', 'subprocess.Popen') if not any(e.startswith(o) for e in bad['events'])]
    assert not missed, bad


@needs_linux
@pytest.mark.parametrize('family', families)
def test_refused(family, raw, box, tmp_path): refuse_all(family, list(families[family](Forge(raw))), box, tmp_path)


@needs_linux
def test_cut_at_every_tenth_byte(raw, box, tmp_path):
    "The file, and what is in it, each cut wherever it can be cut"
    (tmp_path/'model.mylib').write_bytes(raw)
    res = box('cut', str(tmp_path/'model.mylib'), 10)
    assert res['result']=={'UsageError': -(-len(raw)//10)} and res['mb']<most_mb, res
    f = Forge(raw)
    text = json.dumps(f.d)
    for n in range(0, max(len(text), len(f.blob)), 10):
        for cut in [f(text=text[:n])]*(n<len(text))+[f(blob=f.blob[:n])]*(n<len(f.blob)):
            (tmp_path/'inner.mylib').write_bytes(cut)
            with pytest.raises(ValueError, match='inner.mylib'): load_learner(tmp_path/'inner.mylib')


def test_a_large_hole_is_not_read(raw, tmp_path):
    "A file of 50 GB that takes no room on the disk"
    f = Forge(raw)
    file,text = tmp_path/'model.mylib',json.dumps({**f.d, 'sha256': '0'*64}).encode()
    n = 50*2**30
    def local(name, size): return struct.pack('<4s5H3L2H', b'PK\3\4', 45, 0, 0, 0, 33, zlib.crc32(text), 2**32-1, 2**32-1, len(name), 20)+name+struct.pack('<2H2Q', 1, 16, size, size)
    def entry(name, size, at): return struct.pack('<4s6H3L5H2L', b'PK\1\2', 45, 45, 0, 0, 0, 33, zlib.crc32(text), 2**32-1, 2**32-1, len(name), 28, 0, 0, 0, 0, 2**32-1)+name+struct.pack('<2H3Q', 1, 24, size, size, at)
    first,second = local(b'bundle.json', len(text))+text,local(b'model.safetensors', n)
    table = entry(b'bundle.json', len(text), 0)+entry(b'model.safetensors', n, len(first))
    at = len(first)+len(second)+n
    try:
        with open(file, 'wb') as o:
            o.write(first+second)
            o.seek(at)
            o.write(table+struct.pack('<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, 2, 2, len(table), at)+struct.pack('<4sLQL', b'PK\6\7', 0, at+len(table), 1)
                    +struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 2, 2, len(table), 2**32-1, 0))
    except OSError: pytest.skip('the file system has no files with holes')
    with pytest.raises(ValueError, match='header of the weights cannot be read'): load_learner(file)


def test_the_batch_is_as_large_as_the_memory_allows(raw, tmp_path):
    "Weights are few, activations many: what is predicted at once is chosen by them"
    f = Forge(raw)
    resize = {'part': 'vision.Resize', 'args': {'size': 512}}
    net = simple_cnn([3, 300, 2], kernel_szs=[3, 3], strides=[1, 1])
    (tmp_path/'model.mylib').write_bytes(f(blob=save({k: v.contiguous() for k,v in net.state_dict().items()}), model={'part': 'nn.simple_cnn', 'args': net.part_args}, item_tfms=[resize, *f.d['item_tfms'][1:]]))
    assert load_learner(tmp_path/'model.mylib').dls.train.batch_size==2**31//(300*512*512*4)==6
    (tmp_path/'model.mylib').write_bytes(raw)
    assert load_learner(tmp_path/'model.mylib').dls.train.batch_size==64


@pytest.mark.skipif(os.name=='nt', reason='open files cannot be replaced there')
def test_what_was_checked_is_what_is_used(raw, tmp_path, monkeypatch):
    "A file that is replaced between the check and the use"
    import mylib.deploy.load as module
    file,planned = tmp_path/'model.mylib',module._planned
    file.write_bytes(raw)
    def replace(*args):
        (tmp_path/'other').write_bytes(b'something else')
        (tmp_path/'other').replace(file)
        return planned(*args)
    monkeypatch.setattr(module, '_planned', replace)
    assert load_learner(file).predict(torch.zeros(3, 20, 30))[0] in ('circle', 'square')
    assert file.read_bytes()==b'something else'


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(ValueError, match='There is no file'): load_learner(tmp_path/'nothing.mylib')
    with pytest.raises(ValueError, match='is a folder or a device'): load_learner(tmp_path)
    if not hasattr(os, 'mkfifo'): return
    os.mkfifo(tmp_path/'pipe')
    for o in tmp_path/'pipe','/dev/zero':
        with pytest.raises(ValueError, match='is a folder or a device'): load_learner(o)


def test_a_bundle_above_4_gb(raw, tmp_path, monkeypatch):
    "Such zips end in another way; here the limit is lower"
    monkeypatch.setattr(zipfile, 'ZIP64_LIMIT', 100)
    big = Forge(raw)()
    assert b'PK\6\6' in big
    (tmp_path/'model.mylib').write_bytes(big)
    assert isinstance(load_learner(tmp_path/'model.mylib'), Learner)


def test_the_first_format_loads(raw, tmp_path):
    "As version 0.1.0 of the library wrote it, with the fields in another order and of other versions"
    f = Forge(raw)
    keys = list(f.d)
    random.Random(0).shuffle(keys)
    old = {**{k: copy.deepcopy(f.d[k]) for k in keys}, 'versions': {'python': '3.11.0', 'mylib': '0.1.0', 'torch': '2.11.0', 'torchvision': None, 'timm': '1.0.20'}, 'left_out': ['metrics']}
    (tmp_path/'model.mylib').write_bytes(zipped(('bundle.json', json.dumps(old, indent=1)), ('model.safetensors', f.blob)))
    learn = load_learner(tmp_path/'model.mylib')
    assert learn.dls.vocab==['circle', 'square'] and learn.predict(torch.zeros(3, 20, 30))[0] in ('circle', 'square')


@pytest.mark.parametrize('arch,args', [('timm.vit_large_patch16_384', {}), ('timm.swin_large_patch4_window12_384', {'img_size': 768}), ('torchvision.regnet_y_128gf', {}), ('timm.hrnet_w64', {}), ('timm.convnext_xlarge', {})])
def test_large_models_are_within_the_limits(raw, tmp_path, arch, args):
    "Up to the numbers themselves, for which the file has no room"
    from mylib.deploy.load import _without_memory
    f,names = Forge(raw),{torch.float32: 'F32', torch.int64: 'I64'}
    model = {'part': 'vision.model', 'args': {'arch': arch, 'n_out': 2, 'arch_args': args}}
    resize = {'part': 'vision.Resize', 'args': {'size': args.get('img_size', 384)}}
    want,at,header = _without_memory(model, 10_000).state_dict(),0,{}
    for k,v in want.items(): header[k],at = {'dtype': names[v.dtype], 'shape': list(v.shape), 'data_offsets': [at, at+v.nbytes]},at+v.nbytes
    assert at>5e8
    blob = of_header(header, b'')
    (tmp_path/'model.mylib').write_bytes(f(blob=blob, model=model, sha256='0'*64, item_tfms=[resize, *f.d['item_tfms'][1:]]))
    with pytest.raises(ValueError, match='checksum differs'): load_learner(tmp_path/'model.mylib')
