"""The works that a report may refer to, and by what is seen that their methods were used."""

from collections.abc import Callable, Mapping
from typing import Any

SEARCH: Mapping[str, str] = {
    "asha": "Li, L., Jamieson, K., Rostamizadeh, A., Gonina, E., Ben-tzur, J., Hardt, M., Recht, B., "
    "Talwalkar, A.: "
    "A System for Massively Parallel Hyperparameter Tuning. MLSys, 2020. (ASHA)",
    "tpe": "Bergstra, J., Bardenet, R., Bengio, Y., Kégl, B.: Algorithms for Hyper-Parameter Optimization. "
    "NIPS, 2011. (TPE)",
    "optuna": "Akiba, T., Sano, S., Yanase, T., Ohta, T., Koyama, M.: Optuna: A Next-generation "
    "Hyperparameter "
    "Optimization Framework. KDD, 2019.",
    "tune": "Liaw, R., Liang, E., Nishihara, R., Moritz, P., Gonzalez, J. E., Stoica, I.: Tune: A "
    "Research Platform "
    "for Distributed Model Selection and Training. arXiv:1807.05118, 2018.",
    "torch": "Paszke, A., et al.: PyTorch: An Imperative Style, High-Performance Deep Learning Library. "
    "NeurIPS, 2019.",
    "timm": "Wightman, R.: PyTorch Image Models. github.com/huggingface/pytorch-image-models, 2019.",
    "greedy": "Caruana, R., Niculescu-Mizil, A., Crew, G., Ksikes, A.: Ensemble Selection from Libraries "
    "of Models. "
    "ICML, 2004. (forward selection)",
    "bootstrap": "Efron, B.: Bootstrap Methods: Another Look at the Jackknife. The Annals of Statistics "
    "7(1), 1979.",
}

_CONVNET = (
    "LeCun, Y., Bottou, L., Bengio, Y., Haffner, P.: Gradient-Based Learning Applied to Document "
    "Recognition. "
    "Proceedings of the IEEE 86(11), 1998. (convolutional networks)"
)
_PYRAMID = (
    "Lin, T.-Y., Dollár, P., Girshick, R., He, K., Hariharan, B., Belongie, S.: Feature Pyramid Networks "
    "for Object "
    "Detection. CVPR, 2017."
)
_FOCAL = "Lin, T.-Y., Goyal, P., Girshick, R., He, K., Dollár, P.: Focal Loss for Dense Object "
"Detection. ICCV, 2017."
_CENTRES = "Zhou, X., Wang, D., Krähenbühl, P.: Objects as Points. arXiv:1904.07850, 2019."

BY_MODEL: Mapping[str, str] = {
    "convnet": _CONVNET,
    "unet": "Ronneberger, O., Fischer, P., Brox, T.: U-Net: Convolutional Networks for Biomedical Image "
    "Segmentation. MICCAI, 2015.",
    "fpn": _PYRAMID,
    "deeplab": "Chen, L.-C., Zhu, Y., Papandreou, G., Schroff, F., Adam, H.: Encoder-Decoder with Atrous "
    "Separable "
    "Convolution for Semantic Image Segmentation. ECCV, 2018.",
    "centres": _CENTRES,
    "centre_masks": _CENTRES,
    "fcos": "Tian, Z., Shen, C., Chen, H., He, T.: FCOS: Fully Convolutional One-Stage Object Detection. "
    "ICCV, 2019.",
    "retinanet": _FOCAL,
    "faster_rcnn": "Ren, S., He, K., Girshick, R., Sun, J.: Faster R-CNN: Towards Real-Time Object "
    "Detection with "
    "Region Proposal Networks. NIPS, 2015.",
    "mask_rcnn": "He, K., Gkioxari, G., Dollár, P., Girshick, R.: Mask R-CNN. ICCV, 2017.",
    "vdsr": "Kim, J., Lee, J. K., Lee, K. M.: Accurate Image Super-Resolution Using Very Deep "
    "Convolutional "
    "Networks. CVPR, 2016.",
    "edsr": "Lim, B., Son, S., Kim, H., Nah, S., Lee, K. M.: Enhanced Deep Residual Networks for Single "
    "Image "
    "Super-Resolution. CVPR Workshops, 2017.",
    "fsrcnn": "Dong, C., Loy, C. C., Tang, X.: Accelerating the Super-Resolution Convolutional Neural "
    "Network. "
    "ECCV, 2016.",
}
"""By the model's family; any other name is one of timm's."""

BY_OPTIMIZER: Mapping[str, str] = {
    "sgd": "Sutskever, I., Martens, J., Dahl, G., Hinton, G.: On the Importance of Initialization and "
    "Momentum in "
    "Deep Learning. ICML, 2013. (Nesterov momentum)",
    "adam": "Kingma, D. P., Ba, J.: Adam: A Method for Stochastic Optimization. ICLR, 2015.",
    "adamw": "Loshchilov, I., Hutter, F.: Decoupled Weight Decay Regularization. ICLR, 2019. (AdamW)",
    "nadamw": "Dozat, T.: Incorporating Nesterov Momentum into Adam. ICLR Workshop, 2016.",
    "lion": "Chen, X., et al.: Symbolic Discovery of Optimization Algorithms. NeurIPS, 2023. (Lion)",
    "rmsprop": "Tieleman, T., Hinton, G.: Lecture 6.5: RMSProp. COURSERA: Neural Networks for Machine "
    "Learning, "
    "2012.",
}


def _given(value: Any) -> bool:
    return bool(value)


BY_PARAMETER: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "mixup": (
        _given,
        "Zhang, H., Cisse, M., Dauphin, Y. N., Lopez-Paz, D.: mixup: Beyond Empirical Risk Minimization. "
        "ICLR, 2018.",
    ),
    "cutmix": (
        _given,
        "Yun, S., Han, D., Oh, S. J., Chun, S., Choe, J., Yoo, Y.: CutMix: Regularization Strategy to "
        "Train Strong "
        "Classifiers with Localizable Features. ICCV, 2019.",
    ),
    "erasing": (
        _given,
        "Zhong, Z., Zheng, L., Kang, G., Li, S., Yang, Y.: Random Erasing Data Augmentation. AAAI, 2020.",
    ),
    "label_smoothing": (
        _given,
        "Szegedy, C., Vanhoucke, V., Ioffe, S., Shlens, J., Wojna, Z.: Rethinking the Inception "
        "Architecture for "
        "Computer Vision. CVPR, 2016. (label smoothing)",
    ),
    "focal": (_given, _FOCAL),
    "hard_share": (
        lambda share: share < 1,
        "Shrivastava, A., Gupta, A., Girshick, R.: Training Region-Based Object Detectors with Online "
        "Hard Example "
        "Mining. CVPR, 2016.",
    ),
    "dropout": (
        _given,
        "Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., Salakhutdinov, R.: Dropout: A Simple "
        "Way to "
        "Prevent Neural Networks from Overfitting. JMLR 15, 2014.",
    ),
    "drop_path": (
        _given,
        "Huang, G., Sun, Y., Liu, Z., Sedra, D., Weinberger, K. Q.: Deep Networks with Stochastic Depth. "
        "ECCV, 2016.",
    ),
    "ema_decay": (
        _given,
        "Polyak, B. T., Juditsky, A. B.: Acceleration of Stochastic Approximation by Averaging. SIAM "
        "Journal on "
        "Control and Optimization 30(4), 1992. (averaged weights, EMA)",
    ),
    "layer_decay": (
        lambda decay: decay < 1,
        "Bao, H., Dong, L., Piao, S., Wei, F.: BEiT: BERT Pre-Training of Image Transformers. ICLR, 2022. "
        "(layer-wise learning rates)",
    ),
    "residual": (
        _given,
        "He, K., Zhang, X., Ren, S., Sun, J.: Deep Residual Learning for Image Recognition. CVPR, 2016.",
    ),
}
"""By a trial's parameter, and whether its value means that the method was used."""

BY_VALUE: Mapping[tuple[str, str], str] = {
    ("schedule", "onecycle"): "Smith, L. N., Topin, N.: Super-Convergence: Very Fast Training of Neural "
    "Networks Using Large Learning "
    "Rates. arXiv:1708.07120, 2018. (one-cycle policy)",
    ("augment", "randaugment"): "Cubuk, E. D., Zoph, B., Shlens, J., Le, Q. V.: RandAugment: Practical "
    "Automated Data Augmentation with a "
    "Reduced Search Space. NeurIPS, 2020.",
    ("norm", "batch"): "Ioffe, S., Szegedy, C.: Batch Normalization: Accelerating Deep Network Training "
    "by Reducing Internal "
    "Covariate Shift. ICML, 2015.",
    ("pooling", "blur"): "Zhang, R.: Making Convolutional Networks Shift-Invariant Again. ICML, 2019. "
    "(blurred downsampling)",
    ("init", "kaiming"): "He, K., Zhang, X., Ren, S., Sun, J.: Delving Deep into Rectifiers: Surpassing "
    "Human-Level Performance on "
    "ImageNet Classification. ICCV, 2015. (initialisation)",
    ("schedule", "cosine"): "Loshchilov, I., Hutter, F.: SGDR: Stochastic Gradient Descent with Warm "
    "Restarts. "
    "ICLR, 2017. (cosine schedule)",
    ("augment", "trivialaugment"): "Müller, S. G., Hutter, F.: TrivialAugment: Tuning-Free Yet "
    "State-of-the-Art Data "
    "Augmentation. ICCV, 2021.",
    ("norm", "group"): "Wu, Y., He, K.: Group Normalization. ECCV, 2018.",
    ("init", "xavier"): "Glorot, X., Bengio, Y.: Understanding the Difficulty of Training Deep "
    "Feedforward Neural "
    "Networks. AISTATS, 2010. (initialisation)",
    ("init", "orthogonal"): "Saxe, A. M., McClelland, J. L., Ganguli, S.: Exact Solutions to the "
    "Nonlinear Dynamics "
    "of Learning in Deep Linear Neural Networks. ICLR, 2014. (orthogonal initialisation)",
}
"""By a trial's parameter and its value."""

BY_WORD: Mapping[str, str] = {
    "Grad-CAM": "Selvaraju, R. R., Cogswell, M., Das, A., Vedantam, R., Parikh, D., Batra, D.: Grad-CAM: "
    "Visual "
    "Explanations from Deep Networks via Gradient-Based Localization. ICCV, 2017.",
    "Grad-CAM on": "Kokhlikyan, N., et al.: Captum: A Unified and Generic Model Interpretability Library for "
    "PyTorch. arXiv:2009.07896, 2020.",
    "t-SNE": "van der Maaten, L., Hinton, G.: Visualizing Data using t-SNE. JMLR 9, 2008.",
    "activation maximi": "Erhan, D., Bengio, Y., Courville, A., Vincent, P.: Visualizing Higher-Layer "
    "Features of a "
    "Deep Network. Technical report 1341, Université de Montréal, 2009. (activation maximisation)",
    "feature map": "Zeiler, M. D., Fergus, R.: Visualizing and Understanding Convolutional Networks. "
    "ECCV, 2014.",
    "calibration error": "Guo, C., Pleiss, G., Sun, Y., Weinberger, K. Q.: On Calibration of Modern "
    "Neural Networks. "
    "ICML, 2017. (calibration error, temperature scaling)",
    "PED-ANOVA": "Watanabe, S., Bansal, A., Hutter, F.: PED-ANOVA: Efficiently Quantifying "
    "Hyperparameter Importance "
    "in Arbitrary Subspaces. IJCAI, 2023.",
    "fANOVA": "Hutter, F., Hoos, H., Leyton-Brown, K.: An Efficient Approach for Assessing Hyperparameter "
    "Importance. ICML, 2014. (fANOVA)",
    "Holm": "Holm, S.: A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of "
    "Statistics "
    "6(2), 1979.",
    "moderated paired t-test": "Smyth, G. K.: Linear Models and Empirical Bayes Methods for Assessing "
    "Differential Expression in Microarray Experiments. Statistical Applications in Genetics and Molecular "
    "Biology 3(1), 2004. (moderated t-test)",
    "exchanging base and variant": "Fisher, R. A.: The Design of Experiments. Oliver and Boyd, 1935. "
    "(permutation test)",
    "weighted fusion": "Solovyev, R., Wang, W., Gabruseva, T.: Weighted Boxes Fusion: Ensembling Boxes "
    "from "
    "Different Object Detection Models. Image and Vision Computing 107, 2021.",
    "soft-NMS": "Bodla, N., Singh, B., Chellappa, R., Davis, L. S.: Soft-NMS: Improving Object Detection "
    "With One "
    "Line of Code. ICCV, 2017.",
}
"""By a word in what the report says."""
