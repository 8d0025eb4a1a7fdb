//! The addresses of a crowd, which come and go by the thousand: one `ip -batch` for all that want it at a time.

use std::cell::RefCell;

use tokio::sync::{Notify, oneshot};

use crate::net::{self, Link};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Roads {
    namespace: String,
    wanted: RefCell<Vec<(String, oneshot::Sender<()>)>>,
    more: Notify,
}

impl Roads {
    /// Both addresses of `phones` phones exist from now on.
    pub(crate) fn new(namespace: String, phones: usize) -> Self {
        let roads = Self { namespace, wanted: RefCell::default(), more: Notify::new() };
        let all = (0..phones).flat_map(|phone| Link::BOTH.map(|link| line("add", link, phone)));
        roads.run(&all.collect::<String>());
        roads
    }

    fn run(&self, lines: &str) {
        net::ip(&["-n", &self.namespace, "-batch", "-"], lines);
    }

    /// Take an address away: nothing that was sent from it, or is sent to it, arrives any more.
    pub(crate) async fn remove(&self, link: Link, phone: usize) {
        self.want(line("del", link, phone)).await;
    }

    pub(crate) async fn add(&self, link: Link, phone: usize) {
        self.want(line("add", link, phone)).await;
    }

    async fn want(&self, line: String) {
        let (done, is_done) = oneshot::channel();
        self.wanted.borrow_mut().push((line, done));
        self.more.notify_one();
        is_done.await.expect("the worker outlives the phones");
    }

    /// Do what is wanted, for ever.
    pub(crate) async fn work(&self) {
        loop {
            self.more.notified().await;
            let (lines, waiting): (String, Vec<_>) = self.wanted.take().into_iter().unzip();
            let namespace = self.namespace.clone();
            let ran = tokio::task::spawn_blocking(move || {
                net::ip(&["-n", &namespace, "-batch", "-"], &lines);
            });
            ran.await.unwrap_or_else(|cause| std::panic::resume_unwind(cause.into_panic()));
            for done in waiting {
                let _ = done.send(());
            }
        }
    }
}

fn line(verb: &str, link: Link, phone: usize) -> String {
    format!("address {verb} {}/32 dev {}\n", link.of_phone(phone), link.device())
}
