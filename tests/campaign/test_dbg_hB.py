from tests.campaign.test_cluster import campaign_of, LatencyStore, adb_server, binary, make_phone, cluster, phones
import time
def test_dbg(tmp_path, cluster, postgresql_url, phones):
    [phone] = phones(1)
    cluster.start_worker("host-0", "phone-0=1,host=1")
    entries = [phone, {"uri": "host-cpu?cores=999", "resource": "host"}]
    t=time.time(); said=[]
    def tick(rows):
        line=str([(r.uri,r.state,r.measured,r.new) for r in rows])
        if not said or said[-1]!=line: said.append(line); print(round(time.time()-t,1), line, flush=True)
    try:
        summary = campaign_of(tmp_path, postgresql_url, entries, 40).run(cluster=cluster.address, on_tick=tick)
    finally:
        with LatencyStore(postgresql_url) as store:
            for e in store.events(1): print(e)
        print(cluster.log_of("host-0")[-3000:])
