"""Sites: where in a model a state is read and replaced. A new site is one file (`sites.site`)."""

from lm_merge.sites.recording import record_resid_post
from lm_merge.sites.resid_post import RESID_POST
from lm_merge.sites.site import Site

__all__ = ["RESID_POST", "Site", "record_resid_post"]
