"A table that is larger than the memory it is given is trained on from Parquet"
import subprocess, sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

n_groups,n_rows,n_columns = 40,25_000,30 # a million rows, 240 MB as numbers of 64 bits

train = """
import resource, sys
import numpy as np, pandas as pd, pyarrow.parquet
from mylib.tabular.all import *
torch.set_num_threads(1)
path = sys.argv[1]
names = [f'x{i}' for i in range(30)]
warm = TabularDataLoaders.from_df(pd.DataFrame({**{n: np.random.rand(500) for n in names}, 'c': ['a', 'b']*250, 'y': np.random.rand(500)}), cat_names=['c'], cont_names=names, y_names='y', device='cpu')
tabular_learner(warm, arch='mlp').fit(1)
held = int(next(o for o in open('/proc/self/status') if o.startswith('VmData')).split()[1])*1024
resource.setrlimit(resource.RLIMIT_DATA, (held+200*2**20,)*2)
args = dict(cat_names=['c'], cont_names=names, y_names='y', device='cpu', seed=1, bs=4096)
dls = ParquetDataLoaders.from_parquet(path, **args)
learn = tabular_learner(dls, arch='mlp', layers=[16])
learn.fit_one_cycle(1, 1e-2)
print('loss', learn.history[-1]['valid_loss'])
try: np.ones((1_000_000, 30))
except MemoryError: print('capped')
"""


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    file,rng = tmp_path_factory.mktemp('large')/'rows.parquet',np.random.default_rng(0)
    schema = pa.schema([*((f'x{i}', pa.float64()) for i in range(n_columns)), ('c', pa.string()), ('y', pa.float64())])
    with pq.ParquetWriter(file, schema, compression=None) as w:
        for _ in range(n_groups):
            x = rng.normal(size=(n_columns, n_rows))
            w.write_table(pa.table([*x, rng.choice(['a', 'b', 'c'], n_rows), x[0]+0.1*rng.normal(size=n_rows)], schema=schema), row_group_size=n_rows)
    return file


@pytest.mark.skipif(sys.platform!='linux', reason='memory is capped by a limit that Linux has')
def test_with_200_mb(path):
    out = subprocess.run([sys.executable, '-c', train, path], capture_output=True, text=True, timeout=600)
    assert out.returncode==0, out.stdout+out.stderr
    loss,capped = out.stdout.split('loss')[-1].split()
    assert float(loss)<0.1 and capped=='capped', 'the whole table fits, so the cap shows nothing'
