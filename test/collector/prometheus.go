// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// newPrometheusFactory makes an exporter that serves metrics for Prometheus. What they are called
// there decides OpenTelemetry's exporter for Go, by the library that Prometheus and the exporter
// of the collector's contrib distribution have, too. Debian has neither of these with OTLP.
func newPrometheusFactory() exporter.Factory {
	return exporter.NewFactory(
		component.MustNewType("prometheus"),
		func() component.Config { return &prometheusConfig{} },
		exporter.WithMetrics(func(_ context.Context, _ exporter.Settings, config component.Config) (exporter.Metrics, error) {
			return &prometheusExporter{endpoint: config.(*prometheusConfig).Endpoint}, nil
		}, component.StabilityLevelDevelopment))
}

type prometheusConfig struct {
	Endpoint string `mapstructure:"endpoint"`
}

// prometheusExporter has all points that have arrived. A series that arrives twice is an error
// of the scrape.
type prometheusExporter struct {
	endpoint string
	server   http.Server
	mutex    sync.Mutex
	received []metricdata.ScopeMetrics
}

func (e *prometheusExporter) Start(context.Context, component.Host) error {
	registry := prometheus.NewRegistry()
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithProducer(e))
	if err != nil {
		return err
	}
	sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	listener, err := net.Listen("tcp", e.endpoint)
	if err != nil {
		return err
	}
	e.server.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	go e.server.Serve(listener)
	return nil
}

func (e *prometheusExporter) Shutdown(ctx context.Context) error {
	return e.server.Shutdown(ctx)
}

func (*prometheusExporter) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{}
}

func (e *prometheusExporter) ConsumeMetrics(_ context.Context, metrics pmetric.Metrics) error {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			converted := metricdata.ScopeMetrics{Scope: instrumentation.Scope{
				Name:      scope.Scope().Name(),
				Version:   scope.Scope().Version(),
				SchemaURL: scope.SchemaUrl(),
			}}
			for _, metric := range scope.Metrics().All() {
				converted.Metrics = append(converted.Metrics, metricdata.Metrics{
					Name:        metric.Name(),
					Description: metric.Description(),
					Unit:        metric.Unit(),
					Data:        dataOf(metric),
				})
			}
			e.received = append(e.received, converted)
		}
	}
	return nil
}

// Produce is what the SDK calls at each scrape.
func (e *prometheusExporter) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return append([]metricdata.ScopeMetrics(nil), e.received...), nil
}

func dataOf(metric pmetric.Metric) metricdata.Aggregation {
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return metricdata.Gauge[float64]{DataPoints: numbersOf(metric.Gauge().DataPoints())}
	case pmetric.MetricTypeSum:
		return metricdata.Sum[float64]{
			DataPoints:  numbersOf(metric.Sum().DataPoints()),
			Temporality: temporalityOf(metric.Sum().AggregationTemporality()),
			IsMonotonic: metric.Sum().IsMonotonic(),
		}
	case pmetric.MetricTypeHistogram:
		histogram := metricdata.Histogram[float64]{
			Temporality: temporalityOf(metric.Histogram().AggregationTemporality()),
		}
		for _, point := range metric.Histogram().DataPoints().All() {
			histogram.DataPoints = append(histogram.DataPoints, metricdata.HistogramDataPoint[float64]{
				Attributes:   attributesOf(point.Attributes()),
				StartTime:    point.StartTimestamp().AsTime(),
				Time:         point.Timestamp().AsTime(),
				Count:        point.Count(),
				Sum:          point.Sum(),
				Bounds:       point.ExplicitBounds().AsRaw(),
				BucketCounts: point.BucketCounts().AsRaw(),
			})
		}
		return histogram
	}
	// Nothing else is sent; the SDK leaves it out.
	return nil
}

func numbersOf(points pmetric.NumberDataPointSlice) (numbers []metricdata.DataPoint[float64]) {
	for _, point := range points.All() {
		numbers = append(numbers, metricdata.DataPoint[float64]{
			Attributes: attributesOf(point.Attributes()),
			StartTime:  point.StartTimestamp().AsTime(),
			Time:       point.Timestamp().AsTime(),
			Value:      point.DoubleValue(),
		})
	}
	return numbers
}

func attributesOf(attributes pcommon.Map) attribute.Set {
	var pairs []attribute.KeyValue
	for key, value := range attributes.All() {
		pairs = append(pairs, attribute.String(key, value.AsString()))
	}
	return attribute.NewSet(pairs...)
}

func temporalityOf(temporality pmetric.AggregationTemporality) metricdata.Temporality {
	if temporality == pmetric.AggregationTemporalityCumulative {
		return metricdata.CumulativeTemporality
	}
	return metricdata.DeltaTemporality
}
