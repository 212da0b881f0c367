//! What is asked besides: health and reflection, by services that come ready-made.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::OnceCell;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic_health::ServingStatus;

use super::answer::unknown;

/// Begins the path of each call of it, as those below do.
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/";
/// As older clients have it.
const REFLECTION_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";
/// Bytes of a message, for which room is made as soon as it is announced.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Services that are reported as healthy, for as long as there is somebody to ask.
const SERVICES: [&str; 3] = [
    "envoy.service.accesslog.v3.AccessLogService",
    "envoy.service.accesslog.v2.AccessLogService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
];

/// A service that answers calls.
type Answering = Arc<
    dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync,
>;

/// Answers a call of health or reflection, or says that there is no such thing.
///
/// *Source*: gRPC health checking protocol, gRPC server reflection protocol.
pub(super) async fn answer(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let service = if path.starts_with(HEALTH) {
        Some(HEALTHY.get_or_init(health).await)
    } else if path.starts_with(REFLECTION) {
        REFLECTIONS.as_ref().map(|[new, _]| new)
    } else if path.starts_with(REFLECTION_ALPHA) {
        REFLECTIONS.as_ref().map(|[_, old]| old)
    } else {
        None
    };
    match service {
        Some(service) => service(request).await,
        None => unknown(),
    }
}

static HEALTHY: OnceCell<Answering> = OnceCell::const_new();

async fn health() -> Answering {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    boxed(health.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// What can be called here, by both versions of the service that tells.
static REFLECTIONS: LazyLock<Option<[Answering; 2]>> = LazyLock::new(|| {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(logboom_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let new = builder().build_v1().ok()?.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let old = builder().build_v1alpha().ok()?.max_decoding_message_size(MESSAGE_BYTES_MAX);
    Some([boxed(new), boxed(old)])
});

fn boxed<S>(service: S) -> Answering
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    Arc::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        })
    })
}
