"""Similarity of languages from their typological features in the URIEL database.

Reads the files of the package lang2vec 1.1.2 (folder `lang2vec/data`) with numpy alone; its own module
is not imported. URIEL: Littell et al. (2017).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lm_merge.coefficients.similarity_matrix import SimilarityMatrix

PREDICTED, FAMILIES, PLACES = (
    "feature_predictions.npz",
    "family_features.npz",
    "geocoord_features.npz",
)
FEATURE_SETS: dict[str, tuple[str, str]] = {  # set -> file, prefix of its features
    "syntax_knn": (PREDICTED, "S_"),
    "phonology_knn": (PREDICTED, "P_"),
    "inventory_knn": (PREDICTED, "INV_"),
    "family": (FAMILIES, ""),
    "geography": (PLACES, ""),
}
_CODES = (
    "af-ZA afr am-ET amh ar-SA ara az-AZ aze bn-BD ben ca-ES cat cy-GB cym da-DK dan de-DE deu "
    "el-GR ell en-US eng es-ES spa fa-IR fas fi-FI fin fr-FR fra he-IL heb hi-IN hin hu-HU hun "
    "hy-AM hye id-ID ind is-IS isl it-IT ita ja-JP jpn jv-ID jav ka-GE kat km-KH khm kn-IN kan "
    "ko-KR kor lv-LV lav ml-IN mal mn-MN mon ms-MY msa my-MM mya nb-NO nob nl-NL nld pl-PL pol "
    "pt-PT por ro-RO ron ru-RU rus sl-SL slv sq-AL sqi sv-SE swe sw-KE swa ta-IN tam te-IN tel "
    "th-TH tha tl-PH tgl tr-TR tur ur-PK urd vi-VN vie zh-CN zho zh-TW zho "
).split()
ISO_639_3: dict[str, str] = dict(zip(_CODES[::2], _CODES[1::2], strict=True))
"""Locale of MASSIVE -> the code under which URIEL has its language."""


def language_features(
    folder: str | Path, locales: Sequence[str], feature_set: str = "syntax_knn"
) -> Float[ndarray, "locales features"]:
    """Feature vectors of the languages of some locales.

    folder: with the files of lang2vec. locales: names of `ISO_639_3`, or ISO 639-3 codes themselves.
    Raises ValueError for an unknown set or language, OSError where the file is not there.
    """
    if feature_set not in FEATURE_SETS:
        raise ValueError(
            f"feature_set={feature_set!r} is unknown; choose from {', '.join(FEATURE_SETS)}"
        )
    name, prefix = FEATURE_SETS[feature_set]
    path = Path(folder) / name
    if not path.is_file():
        raise OSError(f"{path} is no file; give the folder lang2vec/data of the package lang2vec")
    with np.load(path, allow_pickle=False) as content:
        known = {str(code): place for place, code in enumerate(content["langs"])}
        chosen = [str(feature).startswith(prefix) for feature in content["feats"]]
        codes = [ISO_639_3.get(locale, locale) for locale in locales]
        unknown = [locale for locale, code in zip(locales, codes, strict=True) if code not in known]
        if unknown:
            raise ValueError(
                f"locales {', '.join(unknown)}: URIEL has no such language; give a locale such as "
                "de-DE, or an ISO 639-3 code"
            )
        return content["data"][[known[code] for code in codes]][:, chosen, 0].astype(float)


def feature_similarity(
    locales: Sequence[str], features: Float[ndarray, "locales features"]
) -> SimilarityMatrix:
    """Cosine of the feature vectors of each two locales, in [-1, 1]; 1 for a locale with itself.

    Raises ValueError for a vector that is zero or not finite.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    wrong = [
        locale for locale, norm in zip(locales, norms[:, 0], strict=True) if not 0 < norm < np.inf
    ]
    if wrong:
        raise ValueError(f"features of {', '.join(wrong)} are all 0 or not finite; no cosine there")
    unit = features / norms
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 1.0)
    return SimilarityMatrix(tuple(locales), cosines)
