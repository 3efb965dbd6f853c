"Hands the version and requirements in settings.ini to setuptools"
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_packages

config = ConfigParser()
config.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
extras = {k.removesuffix('_requirements'): v.split() for k,v in cfg.items() if k.endswith('_requirements')}

setup(version=cfg['version'], python_requires=f">={cfg['min_python']}", packages=find_packages(include=['mylib', 'mylib.*']),
      install_requires=cfg['requirements'].split(), extras_require=extras, package_data={'mylib': ['py.typed']},
      entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': ['mylib = mylib._modidx:d']})
