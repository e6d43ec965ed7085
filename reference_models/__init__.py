"""Small image generators in plain torch: one file a family, with its training loop and weights.

Every family's file offers the same four things:

* a frozen config, from which the architecture is rebuilt;
* the modules, of which one has ``sample(noise, labels)``: a pure function of its arguments;
* a training loop that takes ``data`` and ``validate`` callables and a seed;
* ``load(path)``, which reads a safetensors file that ``reference_models.train`` wrote.

The shipped weights lie in ``reference_models/weights``. Retrain one with
``python -m reference_models.train FAMILY --dataset mnist --data DIR --out FILE``.
"""
