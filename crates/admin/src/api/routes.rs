//! Routes that remember their paths, so that the OpenAPI document can be held to them.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use super::Api;

/// The routes of some resources.
pub(crate) struct Routes {
    router: Router<Arc<Api>>,
    paths: Vec<&'static str>,
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes { router: Router::new(), paths: Vec::new() }
    }

    /// A path with what is done at it.
    pub(super) fn route(mut self, path: &'static str, methods: MethodRouter<Arc<Api>>) -> Routes {
        self.paths.push(path);
        Routes { router: self.router.route(path, methods), ..self }
    }

    pub(super) fn merge(mut self, other: Routes) -> Routes {
        self.paths.extend(other.paths);
        Routes { router: self.router.merge(other.router), ..self }
    }

    pub(super) fn into_router(self) -> Router<Arc<Api>> {
        self.router
    }

    /// Every path, as it was routed.
    pub(super) fn into_paths(self) -> Vec<&'static str> {
        self.paths
    }
}
