//! Where the current directory stands: an atomic pointer and a bell.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use directory::{Directory, Generation};
use tokio::sync::watch;

/// The current directory, for all who only read it. Cloning gives another view of the same.
#[derive(Clone)]
pub struct Published {
    current: Arc<ArcSwap<Directory>>,
    generations: watch::Receiver<Generation>,
}

impl Published {
    /// One directory for ever: for tests, and for tools that read a table once.
    pub fn fixed(directory: Directory) -> Published {
        Publisher::new(directory).published()
    }

    /// The current directory. It costs one atomic count; who looks for every packet takes a [`Published::reader`].
    pub fn load(&self) -> Arc<Directory> {
        self.current.load_full()
    }

    /// A view for one worker, whose look costs next to nothing while nothing changes.
    pub fn reader(&self) -> Reader {
        Reader { cache: Cache::new(Arc::clone(&self.current)) }
    }

    /// A bell that rings after every publication from now on, and holds its generation. Generation 0 is the empty
    /// directory. Who needs every change subscribes first and loads then.
    pub fn subscribe(&self) -> watch::Receiver<Generation> {
        let mut generations = self.generations.clone();
        generations.mark_unchanged();
        generations
    }
}

/// One worker's view of the current directory.
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Directory>>, Arc<Directory>>,
}

impl Reader {
    /// The current directory; clone the pointer to keep it.
    pub fn latest(&mut self) -> &Arc<Directory> {
        self.cache.load()
    }
}

/// The writer's side: there is one.
pub struct Publisher {
    current: Arc<ArcSwap<Directory>>,
    bell: watch::Sender<Generation>,
}

impl Publisher {
    /// A publisher whose current directory is this one.
    pub fn new(directory: Directory) -> Publisher {
        let bell = watch::Sender::new(directory.generation());
        Publisher { current: Arc::new(ArcSwap::from_pointee(directory)), bell }
    }

    /// The readers' side.
    pub fn published(&self) -> Published {
        Published { current: Arc::clone(&self.current), generations: self.bell.subscribe() }
    }

    /// The current directory.
    pub fn load(&self) -> Arc<Directory> {
        self.current.load_full()
    }

    /// Makes this the current directory, then rings the bell.
    pub fn publish(&self, directory: Directory) {
        let generation = directory.generation();
        self.current.store(Arc::new(directory));
        self.bell.send_replace(generation);
    }
}
