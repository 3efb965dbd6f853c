"""Saved weights and checkpoints from strangers: none runs anything or asks for more memory than it has bytes; and what is ours comes back to the bit"""
import io, json, os, pickle, struct, zipfile

import pytest
import torch

from mylib.callback.keep import load_model, save_model
from mylib.core.core import UsageError
from mylib.core.state import read_state, write_state
from watched import Watched, needs_linux

most_calls,most_mb = 1_000_000,100


class Runs:
    def __reduce__(self): return os.system, ('touch owned',)


def packed(program, compression=zipfile.ZIP_STORED, **members):
    "A file as of `torch.save` with that pickle"
    with zipfile.ZipFile(f := io.BytesIO(), 'w', compression) as z:
        for k,v in {'data.pkl': program, 'version': '3', **members}.items(): z.writestr(f'archive/{k}', v)
    return f.getvalue()


def asks(code): return packed(b'\x80\x02'+code+b'.')
def number(n): return pickle.dumps(n, 2)[2:-1]
def text(o): return b'X'+struct.pack('<L', len(o))+o
def storage(kind=b'FloatStorage', n=2): return b'('+text(b'storage')+b'ctorch\n'+kind+b'\n'+text(b'0')+text(b'cpu')+number(n)+b'tQ'
def tensor(size, stride, offset=0, **kwargs): return b'ctorch._utils\n_rebuild_tensor_v2\n('+storage(**kwargs)+number(offset)+number(size)+number(stride)+b'\x89N'+b'tR'


def old_files():
    huge = number(10**12)
    yield 'a call', packed(pickle.dumps(Runs()))
    yield 'a storage of 4 TB', asks(b'ctorch\nFloatStorage\n'+huge+b'\x85R')
    yield 'a tensor of 4 TB', asks(b'ctorch\nTensor\n'+huge+b'\x85R')
    yield 'a bytearray of a terabyte', asks(b'cbuiltins\nbytearray\n'+huge+b'\x85R')
    yield 'zeros of 4 TB', asks(b'ctorch\nzeros\n'+huge+b'\x85R')
    yield 'a memo of 32 GB', asks(b'Nr\xff\xff\xff\x7f')
    yield 'a memo of 80 GB in text', asks(b'Np9999999999\n')
    yield 'bytes of 2 GB', asks(b'B\xff\xff\xff\x7f')
    yield 'bytes of an exabyte', asks(b'\x8e'+struct.pack('<Q', 2**60))
    yield 'a frame of an exabyte', packed(b'\x80\x04\x95'+struct.pack('<Q', 2**60)+b'N.')
    for size,stride,offset in ((10**12,), (0,), 0),((10**6, 10**6), (0, 0), 0),((3,), (1,), 0),((2,), (1,), 1),((2,), (-1,), 1),((1,), (1,), -1),((1, 1), (1,), 0),('a', 'b', 0):
        yield f'a tensor of {size} by {stride} from {offset}', packed(b'\x80\x02'+tensor(size, stride, offset)+b'.', **{'data/0': bytes(8)})
    yield 'a storage that is not there', asks(tensor((2,), (1,)))
    yield 'a storage of another kind', packed(b'\x80\x02'+tensor((2,), (1,), kind=b'EvilStorage')+b'.', **{'data/0': bytes(8)})
    yield 'a bomb', packed(pickle.dumps({}), zipfile.ZIP_DEFLATED, **{'data/0': bytes(300*2**20)})
    yield 'two pickles', packed(pickle.dumps({}), **{'x/data.pkl': pickle.dumps({})})
    yield 'no pickle', packed(b'', data='x').replace(b'data.pkl', b'data.txt')
    yield 'rubbish', b'PK\3\4'+bytes(300)
    table = struct.pack('<4s6H3L5H2L', b'PK\1\2', 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)+b'a'
    yield 'a table of 500,000 members', b'PK'+table*500_000+struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 2, 2, len(table)*500_000, 0, 0)


def new_files():
    f = io.BytesIO()
    write_state(f, dict(model={'weight': torch.ones(1, 1), 'bias': torch.ones(1)}))
    raw = f.getvalue()
    n = int.from_bytes(raw[:8], 'little')
    head = json.loads(raw[8:8+n])
    def forged(tree=None, data=bytes(8), **changes):
        new = {**head, **changes}
        if tree is not None: new['__metadata__'] = {**head['__metadata__'], 'tree': tree}
        new = json.dumps(new).encode()
        return len(new).to_bytes(8, 'little')+new+data
    def named(**how): return {**head['model/weight'], **how}
    yield 'nothing', b''
    yield 'a pickle', pickle.dumps(Runs())
    yield 'a header of an exabyte', (2**60).to_bytes(8, 'little')+raw[8:]
    yield 'a header of 60 MB that is not there', (60*2**20).to_bytes(8, 'little')+raw[8:]
    for shape,end in ([2**40], 4),([2**40], 2**42),([-1], 4),([1.0], 4),([True], 4),([2**62, 2**62], 4),('a', 4),(None, 4): yield f'a shape of {shape} up to {end}', forged(**{'model/weight': named(shape=shape, data_offsets=[0, end])})
    for offsets in [0, 2**40],[4, 0],[-4, 0],[0, 8],['a', 'b'],[0],None: yield f'offsets of {offsets}', forged(**{'model/weight': named(data_offsets=offsets)})
    for dtype in 'F99',None,['F32'],'F64': yield f'a type {dtype}', forged(**{'model/weight': named(dtype=dtype)})
    for tree in '['*100_000,'{"code": "x"}','{"tensor": ["a", null]}','{"tensor": ["model/bias", [0, 0, 0]]}','{"tensor": ["model/bias", [1099511627776]]}','{"dict": [[[1], 2]]}','{"dict": 3}','{"float": "1e400"}','{}','NaN','{"a": 1, "a": 2}','{"tuple": 5}','':
        yield f'a tree {tree[:40]}', forged(tree)
    yield 'no tree', forged(__metadata__={'format': 'mylib state 1'})
    yield 'a tree that is a list', forged([1])
    yield 'another format', forged(__metadata__={**head['__metadata__'], 'format': 'mylib state 9'})
    yield 'more at the end', raw+b'MZ'
    for k in range(0, len(raw), 20): yield f'cut at {k}', raw[:k]


@pytest.fixture(scope='module')
def box(tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    (home/'models').mkdir()
    box = Watched(home)
    for write in write_state,lambda f, o: torch.save(o, f),lambda f, o: f.write(packed(pickle.dumps(3))):
        for o in {'model': {'weight': torch.ones(1, 1), 'bias': torch.ones(1)}},{'x': 1}:
            for name in 'last.pth','last.ckpt':
                with open(home/'models'/name, 'wb') as f: write(f, o)
            for job in 'state','learner': box('warm', job, str(home/'models'/'last.pth'))
    yield box
    box.close()


@needs_linux
@pytest.mark.parametrize('family', [old_files, new_files])
def test_refused(family, box, tmp_path):
    bad,peaks = [],[]
    (tmp_path/'models').mkdir()
    for name,raw in family():
        for o in 'last.pth','last.ckpt': (tmp_path/'models'/o).write_bytes(raw)
        read,used = box('state', str(tmp_path/'models'/'last.pth')),box('learner', str(tmp_path/'models'/'last.pth'))
        peaks += [(o['calls'], o['mb']) for o in (read, used)]
        told = used['result'] or []
        right = read['error']=='ValueError' and len(told)==2 and 'Save them again' in told[0] and 'Delete it to begin anew' in told[1] and all(o.isprintable() and len(o)<800 for o in told)
        if not right or read['events'] or used['events'] or max(o[0] for o in peaks[-2:])>most_calls or max(o[1] for o in peaks[-2:])>most_mb: bad.append((name, read, used))
    print(f'{family.__name__}: at most {max(o[0] for o in peaks):,} calls and {max(o[1] for o in peaks):.0f} MB')
    assert not bad, '\n'.join(map(str, bad))


def test_what_does_not_fit_is_said(tmp_path):
    "A file that can be read, but is of something else"
    model = torch.nn.Linear(1, 1)
    for state in {'model': {'weight': torch.ones(1, 1)}},{'model': {'weight': torch.ones(2, 2), 'bias': torch.ones(1)}},{'model': {'weight': 1, 'bias': 2}},{'model': 3},{},[],3,{'model': {'a\x1b[2J\u202e': torch.ones(1)}}:
        with open(tmp_path/'a.pth', 'wb') as f: write_state(f, state)
        with pytest.raises(UsageError, match='does not fit the model') as caught: load_model(tmp_path/'a.pth', model)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
def test_an_optimizer_comes_back_to_the_bit(tmp_path, dtype):
    "And takes the same next step, in both formats"
    def made():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(48, 2)).to(dtype, memory_format=torch.channels_last)
        return net,torch.optim.AdamW(net.parameters(), lr=0.01, amsgrad=True)
    def step(net, opt):
        net(torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(1)).to(dtype)).float().square().sum().backward()
        opt.step()
        opt.zero_grad()
    net,opt = made()
    step(net, opt)
    save_model(tmp_path/'new.pth', net, opt)
    torch.save(dict(model=net.state_dict(), opt=opt.state_dict()), tmp_path/'old.pth')
    found = []
    for name in 'new.pth','old.pth':
        net2,opt2 = made()
        assert load_model(tmp_path/name, net2, opt2)
        assert [o.stride() for o in opt2.state_dict()['state'][0].values() if o.ndim]==[o.stride() for o in opt.state_dict()['state'][0].values() if o.ndim]
        step(net2, opt2)
        found.append(net2.state_dict())
    step(net, opt)
    for o in found: assert all(torch.equal(o[k], v) for k,v in net.state_dict().items())


def test_other_programs_read_the_weights(tmp_path):
    from safetensors.torch import load_file
    net = torch.nn.Linear(3, 2)
    save_model(tmp_path/'a.pth', net)
    assert torch.equal(load_file(tmp_path/'a.pth')['model/weight'], net.weight.detach())
    assert read_state(tmp_path/'a.pth')['opt'] is None


@pytest.mark.parametrize('old', [False, True])
def test_a_fit_goes_on_from_both_formats(tmp_path, old, capsys):
    "A checkpoint that `torch.save` wrote gives the weights that one of today gives, to the bit"
    from mylib.callback.checkpoint import Checkpoint
    from mylib.callback.ema import EMA
    from mylib.callback.keep import SaveModelCallback
    from mylib.callback.run import Watcher
    from mylib.core.testing import synth_line
    from mylib.data.loader import DataLoader
    from mylib.data.loaders import DataLoaders
    from mylib.learner.learner import Learner

    class Stops(Watcher):
        def before_batch(self, run):
            if run.training and run.step==7: raise KeyboardInterrupt

    def learner(path):
        torch.manual_seed(0)
        samples = list(zip(*synth_line(64)))
        dls = DataLoaders(DataLoader(samples, 16, shuffle=True, seed=3), DataLoader(samples, 64, seed=0))
        learn = Learner(dls, torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1)), loss_func=torch.nn.MSELoss(), metrics=[], path=path, cbs=[EMA(0.9), SaveModelCallback()])
        learn.bar = False
        return learn
    whole = learner(tmp_path/'whole')
    whole.fit_one_cycle(4, 0.01)
    with pytest.raises(KeyboardInterrupt): learner(tmp_path/'parts').fit_one_cycle(4, 0.01, cbs=Stops(), checkpoint=Checkpoint('ckpt', every_steps=1))
    file = tmp_path/'parts'/'ckpt'/'last.ckpt'
    assert file.read_bytes()[8:9]==b'{'
    if old: torch.save(read_state(file), file)
    assert (file.read_bytes()[:2]==b'PK')==old
    parts = learner(tmp_path/'parts')
    parts.fit_one_cycle(4, 0.01, checkpoint='ckpt', resume=True)
    assert all(torch.equal(a, b) for a,b in zip(whole.model.state_dict().values(), parts.model.state_dict().values()))
    assert [r['valid_loss'] for r in parts.history]==[r['valid_loss'] for r in whole.history]
