"""References that the methods text of a page cites."""

from __future__ import annotations

from dataclasses import dataclass, field

from brainmass_core.encoders.registry import encoders

# key: citation in the text, and entry in the list of references
WORKS = {
    "ants": (
        "Avants et al. 2011",
        "Avants BB, Tustison NJ, Song G, et al. A reproducible evaluation of ANTs similarity "
        "metric performance in brain image registration. NeuroImage 2011. "
        "doi:10.1016/j.neuroimage.2010.09.025",
    ),
    "greedy": (
        "Yushkevich et al. 2016",
        "Yushkevich PA, Pluta J, Wang H, Wisse LEM, Das S, Wolk D. Fast automatic segmentation of "
        "hippocampal subfields and medial temporal lobe subregions in 3 Tesla and 7 Tesla "
        "T2-weighted MRI. Alzheimers Dement 2016. doi:10.1016/j.jalz.2016.06.205",
    ),
    "deepbet": (
        "Fisch et al. 2024",
        "Fisch L, Zumdick S, Barkhau C, et al. deepbet: Fast brain extraction of T1-weighted MRI "
        "using convolutional neural networks. Comput Biol Med 2024. "
        "doi:10.1016/j.compbiomed.2024.108845",
    ),
    "fsl": (
        "Jenkinson et al. 2012",
        "Jenkinson M, Beckmann CF, Behrens TEJ, Woolrich MW, Smith SM. FSL. NeuroImage 2012. "
        "doi:10.1016/j.neuroimage.2011.09.015",
    ),
    "afni": (
        "Cox 1996",
        "Cox RW. AFNI: software for analysis and visualization of functional magnetic resonance "
        "neuroimages. Comput Biomed Res 1996. doi:10.1006/cbmr.1996.0014",
    ),
    "simpleitk": (
        "Lowekamp et al. 2013",
        "Lowekamp BC, Chen DT, Ibáñez L, Blezek D. The design of SimpleITK. Front Neuroinform "
        "2013. doi:10.3389/fninf.2013.00045",
    ),
    "fd": (
        "Power et al. 2012",
        "Power JD, Barnes KA, Snyder AZ, Schlaggar BL, Petersen SE. Spurious but systematic "
        "correlations in functional connectivity MRI networks arise from subject motion. "
        "NeuroImage 2012. doi:10.1016/j.neuroimage.2011.10.018",
    ),
    "friston24": (
        "Friston et al. 1996",
        "Friston KJ, Williams S, Howard R, Frackowiak RSJ, Turner R. Movement-related effects in "
        "fMRI time-series. Magn Reson Med 1996. doi:10.1002/mrm.1910350312",
    ),
    "compcor": (
        "Behzadi et al. 2007",
        "Behzadi Y, Restom K, Liau J, Liu TT. A component based noise correction method (CompCor) "
        "for BOLD and perfusion based fMRI. NeuroImage 2007. doi:10.1016/j.neuroimage.2007.04.042",
    ),
    "schaefer": (
        "Schaefer et al. 2018",
        "Schaefer A, Kong R, Gordon EM, et al. Local-global parcellation of the human cerebral "
        "cortex from intrinsic functional connectivity MRI. Cereb Cortex 2018. "
        "doi:10.1093/cercor/bhx179",
    ),
    "ledoit_wolf": (
        "Ledoit and Wolf 2004",
        "Ledoit O, Wolf M. A well-conditioned estimator for large-dimensional covariance matrices. "
        "J Multivar Anal 2004. doi:10.1016/S0047-259X(03)00096-4",
    ),
    "combat": (
        "Johnson et al. 2007",
        "Johnson WE, Li C, Rabinovic A. Adjusting batch effects in microarray expression data "
        "using empirical Bayes methods. Biostatistics 2007. doi:10.1093/biostatistics/kxj037",
    ),
    "tangent": (
        "Varoquaux et al. 2010",
        "Varoquaux G, Baronnet F, Kleinschmidt A, Fillard P, Thirion B. Detection of brain "
        "functional-connectivity difference in post-stroke patients using group-level covariance "
        "modeling. MICCAI 2010. doi:10.1007/978-3-642-15705-9_25",
    ),
    "brainnetcnn": (
        "Kawahara et al. 2017",
        "Kawahara J, Brown CJ, Miller SP, et al. BrainNetCNN: convolutional neural networks for "
        "brain networks; towards predicting neurodevelopment. NeuroImage 2017. "
        "doi:10.1016/j.neuroimage.2016.09.046",
    ),
    "transformer": (
        "Kan et al. 2022",
        "Kan X, Dai W, Cui H, Zhang Z, Guo Y, Yang C. Brain Network Transformer. NeurIPS 2022. "
        "arXiv:2210.06681",
    ),
    "lora": (
        "Hu et al. 2021",
        "Hu EJ, Shen Y, Wallis P, et al. LoRA: Low-rank adaptation of large language models. "
        "arXiv:2106.09685",
    ),
    "prototype": (
        "Snell et al. 2017",
        "Snell J, Swersky K, Zemel R. Prototypical networks for few-shot learning. NeurIPS 2017. "
        "arXiv:1703.05175",
    ),
    "delong": (
        "DeLong et al. 1988",
        "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated "
        "receiver operating characteristic curves. Biometrics 1988. doi:10.2307/2531595",
    ),
    "nadeau": (
        "Nadeau and Bengio 2003",
        "Nadeau C, Bengio Y. Inference for the generalization error. Mach Learn 2003. "
        "doi:10.1023/A:1024068626366",
    ),
    "wilson": (
        "Wilson 1927",
        "Wilson EB. Probable inference, the law of succession, and statistical inference. J Am "
        "Stat Assoc 1927. doi:10.1080/01621459.1927.10502953",
    ),
    "gradients": (
        "Sundararajan et al. 2017",
        "Sundararajan M, Taly A, Yan Q. Axiomatic attribution for deep networks. ICML 2017. "
        "arXiv:1703.01365",
    ),
    "pattern": (
        "Haufe et al. 2014",
        "Haufe S, Meinecke F, Görgen K, et al. On the interpretation of weight vectors of linear "
        "models in multivariate neuroimaging. NeuroImage 2014. "
        "doi:10.1016/j.neuroimage.2013.10.067",
    ),
    "sklearn": (
        "Pedregosa et al. 2011",
        "Pedregosa F, Varoquaux G, Gramfort A, et al. Scikit-learn: machine learning in Python. "
        "J Mach Learn Res 2011; 12: 2825-2830",
    ),
    "nilearn": (
        "Abraham et al. 2014",
        "Abraham A, Pedregosa F, Eickenberg M, et al. Machine learning for neuroimaging with "
        "scikit-learn. Front Neuroinform 2014. doi:10.3389/fninf.2014.00014",
    ),
    "snakemake": (
        "Mölder et al. 2021",
        "Mölder F, Jablonski KP, Letcher B, et al. Sustainable data analysis with Snakemake. "
        "F1000Research 2021. doi:10.12688/f1000research.29032.2",
    ),
}


def work(key: str) -> tuple[str, str]:
    """The citation of a work and its entry in the list; encoders add their own."""
    if key in WORKS:
        return WORKS[key]
    return next(e.pages.cites[key] for e in encoders() if key in e.pages.cites)


@dataclass
class Citations:
    """Collects the works that a text cites; templates call it while they are rendered."""

    keys: list[str] = field(default_factory=list)

    def __call__(self, key: str) -> str:
        """Return author and year in brackets, and add the work to the list."""
        text = work(key)[0]
        if key not in self.keys:
            self.keys.append(key)
        return f"({text})"

    def listed(self) -> list[str]:
        """Return the entries of the cited works, in alphabetical order."""
        return sorted(work(key)[1] for key in self.keys)
