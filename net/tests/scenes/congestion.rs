//! Connections use the congestion control that was given to the builder.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use iroh::endpoint::{Controller, ControllerFactory};
use noq_proto::congestion::CubicConfig;
use twolane::{Congestion, Endpoint};

use crate::stage::{PATIENCE, limits, soon};

/// Counts the controllers that it makes.
#[derive(Debug, Default)]
struct Counting(AtomicU32);

impl ControllerFactory for Counting {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        self.0.fetch_add(1, Relaxed);
        Arc::new(CubicConfig::default()).build(now, mtu)
    }
}

async fn endpoint(congestion: Congestion) -> Endpoint {
    Endpoint::builder().offline().limits(limits()).congestion(congestion).bind().await.unwrap()
}

async fn asks(client: &Endpoint, server: &Endpoint) {
    server.serve_requests("echo/1", |request| async move { Ok(request.body) }).unwrap();
    let body = vec![7; 300_000];
    assert_eq!(soon(client.request(server.ticket(), "echo/1", body.clone(), PATIENCE)).await.unwrap(), body);
}

#[tokio::test]
async fn the_callers_congestion_control_has_its_endpoints_connections_and_no_others() {
    let (ours, others) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let client = endpoint(Congestion::Custom(Arc::<Counting>::clone(&ours))).await;
    let server = endpoint(Congestion::Custom(Arc::<Counting>::clone(&others))).await;
    assert_eq!((ours.0.load(Relaxed), others.0.load(Relaxed)), (0, 0));
    asks(&client, &server).await;
    assert!(ours.0.load(Relaxed) > 0 && others.0.load(Relaxed) > 0, "{ours:?} {others:?}");
}

#[tokio::test]
async fn bytes_arrive_with_every_congestion_control() {
    for congestion in [Congestion::Adaptive, Congestion::Cubic, Congestion::Bbr3, Congestion::Background] {
        let (client, server) = (endpoint(congestion.clone()).await, endpoint(congestion).await);
        asks(&client, &server).await;
    }
}
