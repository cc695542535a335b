//! The one way in to every endpoint of the stack. Whoever calls must have named this machine, so that no web page can; a
//! request must come whole and in time; and connections that do nothing give way, so that none can lock the others out.

mod connections;
mod names;
mod whole;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use connections::Connections;
use connections::Place;
pub(crate) use names::is_origin_here;

/// How long a request's headers may take to come, and its body; a connection without a request is closed after as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after a connection could not be taken: this process has too many files open.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Listens on 127.0.0.1; at port 0, on a free one.
///
/// # Errors
/// The system's, when the port is taken or not ours to take.
pub(crate) async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// An endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    router: Router,
    most_bytes: usize,
    patience: Duration,
    connections: Arc<Connections>,
}

impl Endpoint {
    /// Of these routes, for request bodies of up to `most_bytes`. `connections` are those of the whole stack.
    pub(crate) fn new(router: Router, most_bytes: usize, connections: &Arc<Connections>) -> Self {
        Self { router, most_bytes, patience: PATIENCE, connections: Arc::clone(connections) }
    }

    /// Serves until `stopped` turns true or its sender is dropped, and then lets end what is under way.
    pub(crate) async fn serve(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                accepted = self.accept(&listener) => accepted,
            };
            while open.try_join_next().is_some() {}
            let (stream, place) = accepted;
            open.spawn(self.clone().converse(stream, place, stopped.clone()));
        }
        drop(listener);
        while open.join_next().await.is_some() {}
    }

    async fn accept(&self, listener: &TcpListener) -> (TcpStream, Place) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, self.connections.admit().await),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    self.connections.close_one();
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// Serves one connection until its other side, we, or a lack of room ends it.
    async fn converse(self, stream: TcpStream, place: Place, mut stopped: watch::Receiver<bool>) {
        let _ = stream.set_nodelay(true);
        let place = Arc::new(place);
        let patience = self.patience;
        let service = service_fn(|request| {
            let (endpoint, place) = (self.clone(), Arc::clone(&place));
            async move { Ok::<_, Infallible>(endpoint.answer(request, &place).await) }
        });
        let mut serving = http1::Builder::new();
        serving.timer(TokioTimer::new()).header_read_timeout(patience);
        let mut connection = std::pin::pin!(serving.serve_connection(TokioIo::new(stream), service));
        let mut stopping = false;
        loop {
            // An error is the other side's: it went away, or what it sent was no HTTP.
            tokio::select! {
                _ = connection.as_mut() => return,
                () = place.needed() => return,
                _ = stopped.wait_for(|stopped| *stopped), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn answer(self, request: hyper::Request<Incoming>, place: &Place) -> Response {
        if let Some(refusal) = names::refusal(&request) {
            return refusal;
        }
        let request = match whole::read(request, self.most_bytes, self.patience).await {
            Ok(request) => request,
            Err(refusal) => return refusal,
        };
        let _busy = place.busy().await;
        let Ok(answer) = TowerToHyperService::new(self.router).call(request).await;
        answer
    }
}

/// A refusal, in the words of our own API and, as `message`, of AWS's.
fn refusal(status: axum::http::StatusCode, why: &str) -> Response {
    use axum::response::IntoResponse;

    (status, axum::Json(serde_json::json!({ "error": why, "message": why }))).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Bytes;
    use axum::extract::State;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;

    use super::*;

    const WHOLE: &str = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";

    /// An endpoint that answers how many bytes came, once there is a permit for it. It is stopped when this is dropped.
    struct Echo {
        address: SocketAddr,
        /// One for each request that has come.
        came: Arc<Semaphore>,
        permits: Arc<Semaphore>,
        stop: watch::Sender<bool>,
    }

    impl Echo {
        async fn start(patience: Duration, connections: Arc<Connections>) -> Self {
            let (came, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
            let echo = |State([came, permits]): State<[Arc<Semaphore>; 2]>, body: Bytes| async move {
                came.add_permits(1);
                permits.acquire().await.expect("a permit").forget();
                body.len().to_string()
            };
            let router = Router::new().route("/", post(echo)).with_state([Arc::clone(&came), Arc::clone(&permits)]);
            let endpoint = Endpoint { patience, ..Endpoint::new(router, 1000, &connections) };
            let listener = listen(0).await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let stop = watch::Sender::new(false);
            tokio::spawn(endpoint.serve(listener, stop.subscribe()));
            Self { address, came, permits, stop }
        }

        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.expect("a connection");
            stream.write_all(text.as_bytes()).await.expect("written");
            stream
        }
    }

    /// Sends a request, and returns once it is at work.
    async fn at_work(echo: &Echo) -> TcpStream {
        let stream = echo.send(WHOLE).await;
        echo.came.acquire().await.expect("a request").forget();
        stream
    }

    /// All that comes until the connection is closed.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn half_a_header_and_half_a_body_are_not_waited_for() {
        let echo = Echo::start(Duration::from_millis(50), Connections::new()).await;
        for half in ["", "POST / HT", "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-le"] {
            assert_eq!(rest(echo.send(half).await).await, "", "{half:?}");
        }
        let half = echo.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{").await;
        let answer = rest(half).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("send it again"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_read_to_its_end_and_refused() {
        let echo = Echo::start(PATIENCE, Connections::new()).await;
        echo.permits.add_permits(1);
        for (bytes, status) in [(1000, 200), (1001, 413), (10_000_000, 413)] {
            let head =
                format!("POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n");
            let answer = rest(echo.send(&(head + &"x".repeat(bytes))).await).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {answer}");
        }
    }

    #[tokio::test]
    async fn the_connection_that_was_idle_for_longest_gives_way_and_none_that_is_at_work() {
        let echo = Echo::start(PATIENCE, Connections::up_to(2, Duration::ZERO)).await;
        let at_work = at_work(&echo).await;
        let idle = echo.send("POST / HT").await;
        let next = echo.send(WHOLE).await;
        // The idle one is closed for the next, whose answer then waits for a permit as the first one's does.
        assert_eq!(rest(idle).await, "");
        echo.permits.add_permits(2);
        for busy in [at_work, next] {
            let answer = rest(busy).await;
            assert!(answer.ends_with("\r\n2"), "{answer}");
        }
    }

    #[tokio::test]
    async fn whoever_finds_every_connection_at_work_waits_for_one_to_end() {
        let echo = Echo::start(PATIENCE, Connections::up_to(1, PATIENCE)).await;
        let all = [echo.send(WHOLE).await, echo.send(WHOLE).await, echo.send(WHOLE).await];
        echo.permits.add_permits(all.len());
        for stream in all {
            let answer = rest(stream).await;
            assert!(answer.ends_with("\r\n2"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_kept_open_after_its_answer_gives_way() {
        let echo = Echo::start(PATIENCE, Connections::up_to(1, Duration::ZERO)).await;
        let mut kept = echo.send(&WHOLE.replace("connection: close\r\n", "")).await;
        echo.came.acquire().await.expect("a request").forget();
        let next = echo.send(WHOLE).await;
        echo.permits.add_permits(2);
        assert!(kept.read_u8().await.is_ok());
        let (kept, next) = (rest(kept).await, rest(next).await);
        assert!(kept.ends_with("\r\n2") && next.ends_with("\r\n2"), "{kept}\n{next}");
    }

    #[tokio::test]
    async fn a_stop_closes_idle_connections_and_lets_a_request_be_answered() {
        let echo = Echo::start(PATIENCE, Connections::new()).await;
        let (idle, at_work) = (echo.send("").await, at_work(&echo).await);
        echo.stop.send_replace(true);
        echo.permits.add_permits(1);
        assert_eq!(rest(idle).await, "");
        let answer = rest(at_work).await;
        assert!(answer.ends_with("\r\n2"), "{answer}");
    }
}
