//! MiniStack's EventBridge, and a proxy in front of it that can be dead, slow or throttle.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

const QUEUE: &str = "events";
/// How long a slow bus takes for each connection: longer than one attempt of the function.
const SLOW: Duration = Duration::from_secs(4);

/// How the proxy treats connections. Those that exist end when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BusMode {
    /// They reach the bus.
    Alive,
    /// They are closed at once.
    Dead,
    /// They wait for longer than the function does.
    Slow,
    /// They get the error of a bus that is used too much.
    Throttling,
}

/// The bus with its proxy, and a queue that gets every event.
#[derive(Debug)]
pub(crate) struct Bus {
    /// The URL of the proxy.
    pub(crate) url: String,
    aws_url: String,
    mode: watch::Sender<BusMode>,
    client: reqwest::Client,
    server: JoinHandle<()>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Bus {
    /// Starts the proxy, and lets the bus send every event to a queue.
    pub(crate) async fn start(aws_url: &str) -> Result<Self> {
        let upstream: SocketAddr = aws_url.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (mode, modes) = watch::channel(BusMode::Alive);
        let server = tokio::spawn(serve(listener, upstream, modes));
        let client = reqwest::Client::builder().no_proxy().build()?;
        let bus = Self { url, aws_url: aws_url.to_owned(), mode, client, server };
        bus.call("AmazonSQS.CreateQueue", json!({"QueueName": QUEUE})).await?;
        let pattern = json!({"source": ["Postern"]}).to_string();
        let rule = json!({"Name": "all", "EventPattern": pattern});
        bus.call("AWSEvents.PutRule", rule).await?;
        let arn = format!("arn:aws:sqs:eu-west-1:000000000000:{QUEUE}");
        let targets = json!({"Rule": "all", "Targets": [{"Id": "queue", "Arn": arn}]});
        bus.call("AWSEvents.PutTargets", targets).await?;
        Ok(bus)
    }

    /// Changes how the proxy treats connections.
    pub(crate) fn set(&self, mode: BusMode) {
        self.mode.send_replace(mode);
    }

    /// Returns the events that have arrived since the last call, in order.
    pub(crate) async fn arrived(&self) -> Result<Vec<Value>> {
        let queue = format!("{}/000000000000/{QUEUE}", self.aws_url);
        let mut events = Vec::new();
        loop {
            let receive = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10});
            let answer = self.call("AmazonSQS.ReceiveMessage", receive).await?;
            let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return Ok(events);
            }
            for message in messages {
                let body = message["Body"].as_str().context("a message without a body")?;
                events.push(serde_json::from_str(body)?);
                let delete = json!({"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]});
                self.call("AmazonSQS.DeleteMessage", delete).await?;
            }
        }
    }

    /// Calls a service of MiniStack, which reads the region from the signature and does not check
    /// it.
    async fn call(&self, target: &str, body: Value) -> Result<Value> {
        let scope = "Credential=e2e/20260101/eu-west-1/e2e/aws4_request";
        let request = self
            .client
            .post(&self.aws_url)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=e2e"),
            )
            .body(body.to_string());
        let answer = request.send().await?.error_for_status()?.text().await?;
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer)? })
    }
}

async fn serve(listener: TcpListener, upstream: SocketAddr, modes: watch::Receiver<BusMode>) {
    while let Ok((connection, _)) = listener.accept().await {
        let mut modes = modes.clone();
        tokio::spawn(async move {
            let mode = *modes.borrow_and_update();
            tokio::select! {
                _ = treat(connection, upstream, mode) => {}
                _ = modes.changed() => {}
            }
        });
    }
}

async fn treat(mut caller: TcpStream, upstream: SocketAddr, mode: BusMode) -> std::io::Result<()> {
    const BODY: &str = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
    match mode {
        BusMode::Dead => Ok(()),
        BusMode::Throttling => {
            let mut request = [0; 64 * 1024];
            let _ = caller.read(&mut request).await?;
            let head = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{BODY}",
                BODY.len()
            );
            caller.write_all(head.as_bytes()).await
        }
        BusMode::Alive | BusMode::Slow => {
            if mode == BusMode::Slow {
                tokio::time::sleep(SLOW).await;
            }
            let mut bus = TcpStream::connect(upstream).await?;
            copy_bidirectional(&mut caller, &mut bus).await.map(drop)
        }
    }
}
