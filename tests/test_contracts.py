"What the rooms promise one another: Blocks of a user's own, several targets, shares of batches, threads, and files of earlier formats"
import contextlib, io, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from mylib.core.core import set_seed
from mylib.core.samples import digits_folder
from mylib.core.testing import synth_images, synth_table
from mylib.data.block import CategoryBlock, RegressionBlock, TargetBlock, TransformBlock
from mylib.data.datablock import DataBlock
from mylib.data.items import get_image_files, parent_label
from mylib.data.loader import DataLoader
from mylib.data.loaders import DataLoaders
from mylib.data.split import IndexSplitter, RandomSplitter
from mylib.data.transform import Transform
from mylib.deploy.load import load_learner
from mylib.interpret.interpretation import Interpretation
from mylib.learner.learner import Learner
from mylib.nn.blocks import simple_cnn, small_resnet
from mylib.tabular.data import TabularDataLoaders
from mylib.tabular.learner import tabular_learner
from mylib.vision.block import ImageBlock
from mylib.vision.data import ImageDataLoaders
from mylib.vision.image import PILImageBW
from mylib.vision.transform import Resize

matplotlib.use('agg')


def quiet(f, *args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()): return f(*args, **kwargs)


# A user's own Blocks, without a private name

class Ragged(TransformBlock):
    "Lists of numbers; batches are (b, longest), filled with zeros"
    def collate(self, values, _samples): return nn.utils.rnn.pad_sequence([torch.tensor(o) for o in values], batch_first=True)


class SumModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(1, 1)
    def forward(self, x): return self.scale(x.sum(1, keepdim=True))


def test_a_ragged_block_trains():
    lists = [[float(i%4)]*(i%5+1) for i in range(40)]
    sums = DataBlock(blocks=(Ragged, RegressionBlock), get_y=sum, splitter=RandomSplitter(seed=1))
    dls = sums.dataloaders(lists, bs=8, seed=1, device='cpu')
    xb,yb = dls.one_batch()
    assert torch.allclose(xb.sum(1, keepdim=True), yb) and xb.ndim==2
    set_seed(0)
    learn = Learner(dls, SumModel(), lr=0.1)
    quiet(learn.fit, 20)
    assert learn.history[-1]['valid_loss']<0.5*learn.history[0]['valid_loss']
    assert abs(learn.predict([1., 2., 3.])[0]-6)<3


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body,self.kind,self.size = nn.Linear(2, 8),nn.Linear(8, 2),nn.Linear(8, 1)
    def forward(self, x):
        x = self.body(x).relu()
        return self.kind(x), self.size(x)


class Point(Transform):
    def encodes(self, p): return torch.tensor(p)


def two_targets():
    points = [(i/20-1, (i*7%20)/20) for i in range(40)]
    both = DataBlock(blocks=(TransformBlock(Point()), CategoryBlock, RegressionBlock), n_inp=1, splitter=RandomSplitter(seed=1),
                     get_y=[lambda p: 'left' if p[0]<0 else 'right', sum])
    return points, both.dataloaders(points, bs=8, seed=1, device='cpu')


def test_two_targets_with_two_losses(capsys):
    points,dls = two_targets()
    set_seed(0)
    learn = Learner(dls, TwoHeads(), lr=0.03)
    pred,(kind,size) = learn.model(dls.one_batch()[0]),dls.one_batch()[1:]
    assert torch.allclose(learn.loss_func(pred, kind, size), F.cross_entropy(pred[0], kind)+F.mse_loss(pred[1], size))
    learn.fit(20)
    assert [k for k in learn.history[-1] if k!='seconds']==['epoch', 'train_loss', 'valid_loss', 'error_rate_0', 'rmse_1']
    assert learn.history[-1]['error_rate_0']<0.2 and learn.history[-1]['rmse_1']<0.3
    (label,number),values,probs = learn.predict((0.9, 0.5))
    assert label=='right' and abs(number-1.4)<0.5 and abs(probs[0].sum().item()-1)<1e-5
    preds,targs,losses = learn.get_preds(with_loss=True)
    assert torch.allclose(losses, F.cross_entropy(learn.model(torch.tensor([points[i] for i in dls.valid_ds.positions]))[0], targs[0], reduction='none')
                          + (preds[1]-targs[1]).squeeze()**2, atol=1e-5)
    worst = Interpretation.from_learner(learn).verdicts([0, 1])
    assert all(o[0].count(';')==1 for o in worst)
    learn.show_results(max_n=2)
    dls.show_batch(max_n=2)


def test_two_targets_in_a_file(tmp_path):
    "The loss of each, activations and decoders come back; the model is the user's own"
    _,dls = two_targets()
    learn = Learner(dls, TwoHeads(), path=tmp_path)
    learn.export(parts={'model': learn.model, 'point': dls.blocks[0].type_tfms[0]})
    again = load_learner(tmp_path/'export.pkl', model=TwoHeads(), parts={'point': Point()})
    assert again.predict((0.3, 0.2))[0]==learn.predict((0.3, 0.2))[0]
    assert repr(again.loss_func)==repr(learn.loss_func)


class Points(TargetBlock):
    "Points (n, 2) in pixels; batches are from -1 to 1 of the image that they belong to"
    def collate(self, values, samples): return torch.stack([torch.tensor(p)*2/size_of(s)-1 for p,s in zip(values, samples)])
    def decode(self, x, sample): return (x+1)/2*size_of(sample)
    def show(self, x, ctx=None):
        ctx.scatter(*x.T.tolist())
        return ctx
    def text(self, x): return ', '.join(f'({a:.0f}, {b:.0f})' for a,b in x.tolist())


def size_of(sample): return torch.tensor(sample[0].shape[-2:][::-1], dtype=torch.float32)


def test_points_are_decoded_at_the_size_of_their_picture(tmp_path):
    path = synth_images(tmp_path/'shapes', n_per_class=6, size=40)
    marked = DataBlock(blocks=(ImageBlock, Points), get_items=get_image_files, get_y=lambda o: [[10., 20.], [30., 39.]], splitter=RandomSplitter(seed=1))
    dls = marked.dataloaders(path, bs=4, seed=1, device='cpu')
    batch = dls.one_batch()
    assert torch.allclose(batch[1][0], torch.tensor([[-0.5, 0.], [0.5, 0.95]]))
    for _,points in dls.train.decode_batch(batch): assert torch.allclose(points, torch.tensor([[10., 20.], [30., 39.]]))
    dls.show_batch(max_n=2)
    drawn = matplotlib.pyplot.gcf().axes[0].collections[0].get_offsets()
    assert np.allclose(drawn, [[10, 20], [30, 39]])
    matplotlib.pyplot.close('all')
    learn = Learner(dls, nn.Sequential(simple_cnn([3, 4, 4]), nn.Unflatten(1, (2, 2))), loss_func=F.mse_loss)
    assert len(Interpretation.from_learner(learn).verdicts([0])[0][0].split('), ('))==2


# Loaders

@pytest.fixture
def shapes(tmp_path): return synth_images(tmp_path/'shapes', n_per_class=15, size=24)


@pytest.mark.parametrize('kind', ['images', 'table'])
def test_two_shards_are_the_whole(kind, shapes):
    if kind=='images': whole = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=3, bs=6, item_tfms=Resize(16), device='cpu').train
    else: whole = TabularDataLoaders.from_df(synth_table(90), y_names='rich', cat_names=['job'], cont_names=['age'], seed=3, bs=8, device='cpu').train
    parts = [whole.sharded(rank, 2) for rank in range(2)]
    for epoch in 0,1:
        for batch,*shares in zip(whole.batches(epoch), *(o.batches(epoch) for o in parts), strict=True):
            for x,a,b in zip(batch, *shares):
                assert torch.equal(x[0::2], a) and torch.equal(x[1::2], b)


def test_every_shard_draws_what_the_whole_draws(shapes):
    "Random item transforms depend on seed, epoch and index alone"
    from mylib.vision.transform import RandomResizedCrop
    whole = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=3, bs=6, item_tfms=RandomResizedCrop(16), device='cpu').train
    for batch,*shares in zip(whole.batches(1), *(whole.sharded(rank, 2).batches(1) for rank in range(2)), strict=True):
        assert torch.equal(batch[0][0::2], shares[0][0]) and torch.equal(batch[0][1::2], shares[1][0])


def test_a_loader_of_pytorch_trains_validates_and_predicts(tmp_path):
    x = torch.linspace(-1, 1, 64)[:,None]
    data = torch.utils.data.TensorDataset(x, 2*x+3)
    def loaders(): return DataLoaders(torch.utils.data.DataLoader(data, batch_size=16, shuffle=True), torch.utils.data.DataLoader(data, batch_size=64))
    def fitted(learn, *args, **kwargs):
        set_seed(1)
        quiet(learn.fit, *args, **kwargs)
        return [p.tolist() for p in learn.model.parameters()]
    def learner():
        set_seed(0)
        return Learner(loaders(), nn.Linear(1, 1), nn.MSELoss(), lr=0.1, path=tmp_path)
    whole = learner()
    weights = fitted(whole, 3)
    assert abs(whole.validate()[0]-((whole.get_preds()[0]-(2*x+3))**2).mean().item())<1e-6
    from mylib.callback.run import Watcher
    class Stop(Watcher):
        def after_batch(self, run):
            if run.step==6: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): fitted(learner(), 3, cbs=Stop(), checkpoint=checkpoint_each_step())
    assert fitted(learner(), 3, checkpoint='checkpoint', resume=True)==weights


def checkpoint_each_step():
    from mylib.callback.checkpoint import Checkpoint
    return Checkpoint(every_steps=1)


@pytest.mark.parametrize('cache', [None, 'folder'])
def test_the_second_epoch_opens_nothing(shapes, tmp_path, cache, monkeypatch):
    "Whole samples are kept where nothing random is done to them, and a file that was written anew is opened again"
    import mylib.vision.image as image
    opened,decode = [],image.decode_image
    monkeypatch.setattr(image, 'decode_image', lambda *args: opened.append(args) or decode(*args))
    cache = tmp_path/'cache' if cache else None
    def loaders(): return ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=3, bs=6, device='cpu', cache=cache)
    dls = loaders() # tries two samples of each set, and follows one through its transforms
    first,second = list(dls.train.batches(0)),list(dls.train.batches(0))
    assert len(opened)==24+2+1
    for a,b in zip(first, second): assert torch.equal(a[0], b[0]) and a[0].stride()==b[0].stride() and torch.equal(a[1], b[1])
    if cache:
        again = list(loaders().train.batches(0))
        assert len(opened)==24+2+1+1
        for a,b in zip(first, again): assert torch.equal(a[0], b[0])
    else:
        file = next(iter(dls.train_ds.items))
        Image.new('RGB', (24, 24)).save(file)
        os.utime(file, ns=(1, 1))
        changed = list(dls.train.batches(0))
        assert len(opened)==24+2+1+1 and any(not torch.equal(a[0], b[0]) for a,b in zip(first, changed))


# Predicting

def digits_learner():
    dls = ImageDataLoaders.from_folder(digits_folder(), valid_pct=0.2, seed=1, bs=64, img_cls=PILImageBW, device='cpu')
    set_seed(0)
    learn = Learner(dls, small_resnet(n_in=1, n_out=10))
    learn.bar = False
    return learn


@pytest.mark.parametrize('kind', ['training', 'loaded', 'table'])
def test_eight_threads_get_what_one_gets(kind, tmp_path):
    torch.set_num_threads(1)
    if kind=='table':
        df = synth_table(125)
        learn = tabular_learner(TabularDataLoaders.from_df(df, y_names='rich', cat_names=['job', 'city'], cont_names=['age', 'hours'], seed=1, device='cpu'), layers=[8])
        items = df.to_dict('records')
    else:
        learn = digits_learner()
        learn.path,items = tmp_path,sorted(get_image_files(digits_folder()))[:125]
        if kind=='loaded': learn = load_learner(learn.export())
    learn.model.train(kind!='loaded')
    before = {k: v.clone() for k,v in learn.model.state_dict().items()}
    rng = torch.get_rng_state()
    alone = [learn.predict(o)[2] for o in items]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool: found = list(pool.map(lambda o: learn.predict(o)[2], items*8))
    finally: sys.setswitchinterval(switch)
    assert len(found)==1000 and all(torch.equal(p, alone[i%125]) for i,p in enumerate(found))
    assert all(torch.equal(v, before[k]) for k,v in learn.model.state_dict().items())
    assert learn.model.training==(kind!='loaded') and torch.equal(torch.get_rng_state(), rng)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the system cannot fork')
def test_a_forked_child_answers(tmp_path):
    "As a server that loads the model before it forks; PyTorch's own threads do not survive a fork"
    learn = digits_learner()
    learn.path = tmp_path
    learn = load_learner(learn.export())
    learn.bar = False
    files = sorted(get_image_files(digits_folder()))[:64]
    torch.set_num_threads(2)
    try: preds = learn.get_preds(dl=learn.dls.test_dl(files))[0]
    finally: torch.set_num_threads(1)
    pid = os.fork()
    if not pid:
        try: code = 0 if torch.allclose(learn.get_preds(dl=learn.dls.test_dl(files))[0], preds, atol=1e-5) else 3
        except BaseException: code = 4
        os._exit(code)
    timer = threading.Timer(300, os.kill, (pid, 9)) # against hanging
    timer.start()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    timer.cancel()
    assert code==0


class Roundabout(nn.Module):
    "A model whose dropout is reached through `way(dropout)`, not as a child of the module that calls it"
    def __init__(self, way):
        super().__init__()
        self.body,self.drop = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),nn.Dropout()
        self.way = way(self.drop)
    def forward(self, x): return self.way(self.body(x))


@pytest.mark.parametrize('way', [lambda d: d.forward, lambda d: lambda x: d(x), lambda d: nn.Sequential(d).__call__, None])
def test_no_dropout_in_a_prediction(way):
    learn = digits_learner()
    set_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout()) if way is None else Roundabout(way)
    layers = net[:2] if way is None else net.body
    learn.model = torch.compile(net, backend='eager') if way is None else net
    learn.model.train()
    files = sorted(get_image_files(digits_folder()))[:20]
    xb = torch.stack([torch.from_numpy(np.array(Image.open(f).convert('L'))) for f in files])[:,None]/255
    with torch.no_grad(): expected = layers(xb).softmax(-1)
    assert all(torch.allclose(learn.predict(f)[2], p, atol=1e-6) for f,p in zip(files, expected))
    assert torch.allclose(learn.get_preds(dl=learn.dls.test_dl(files))[0], expected, atol=1e-6)
    assert all(m.training for m in learn.model.modules())


def functions_of_ours(f):
    "The functions of the package that `f` goes through"
    import mylib
    root,found = str(Path(mylib.__file__).parent),set()
    def _note(frame, event, _arg):
        if event=='call' and frame.f_code.co_filename.startswith(root) and not frame.f_code.co_name.startswith('<'): found.add(frame.f_code)
    sys.setprofile(_note)
    try: f()
    finally: sys.setprofile(None)
    return found


def test_a_picture_is_predicted_in_few_functions():
    learn,file = digits_learner(),next(iter(get_image_files(digits_folder())))
    learn.predict(file)
    found = functions_of_ours(lambda: learn.predict(file))
    assert len(found)<=40, sorted(f'{Path(c.co_filename).name}:{c.co_name}' for c in found)


def test_what_an_item_is_is_said():
    "A text is a text; an item that `get_x` takes goes through a test loader; the same before export and after"
    words = DataBlock(blocks=(TransformBlock(Length()), CategoryBlock), get_x=lambda r: r['word'], get_y=lambda r: r['kind'], splitter=IndexSplitter([0]))
    rows = [dict(word=w, kind=k) for w,k in (('I liked it', 'pos'), ('no', 'neg'), ('I liked it all', 'pos'), ('so', 'neg'))]
    learn = Learner(words.dataloaders(rows, bs=2, seed=1, device='cpu'), nn.Linear(1, 2))
    assert learn.predict('I liked it')[0] in ('pos', 'neg')
    with pytest.raises(ValueError, match='fails on 3'): learn.predict(3)
    by_row = learn.get_preds(dl=learn.dls.test_dl(rows[:1]))[0][0]
    assert torch.allclose(by_row, learn.predict(rows[0]['word'])[2])
    with pytest.raises(ValueError, match='pass raw=True'): learn.dls.test_dl(['I liked it']).one_batch()


class Length(Transform):
    def encodes(self, s): return torch.tensor([float(len(s))])


# Files

bundles = Path(__file__).parent/'bundles'
asked = dict(images=np.zeros((30, 30, 3), dtype=np.uint8), table=dict(job='cook', city='Lima', age=30, hours=None), ratings=dict(user=3, movie=2))


@pytest.mark.parametrize('format_number', [1, 2])
@pytest.mark.parametrize('kind', asked)
def test_files_of_each_format_load(kind, format_number):
    learn = load_learner(bundles/f'{kind}-{format_number}.mylib')
    called = learn.predict(asked[kind])[0]
    if kind=='images': assert called in learn.dls.vocab==['circle', 'square']
    if kind=='table': assert called['rich'] in ('no', 'yes') and called['city']=='Lima'
    if kind=='ratings': assert 0<called['rating']<5.5


def test_both_formats_say_the_same():
    "The files of the two formats hold the same model"
    for kind,item in asked.items():
        old,new = (load_learner(bundles/f'{kind}-{n}.mylib').predict(item)[2] for n in (1, 2))
        assert torch.allclose(old, new, atol=1e-4), kind
